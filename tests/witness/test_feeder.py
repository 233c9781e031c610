"""The feeder: all witnesses under one note, none of them slower than it is, and every no told."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from shutil import copyfile
from socket import SHUT_RDWR, create_server

import pytest

from keyvault import signatures
from keyvault.domain.audit import EventType
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.notes import Note, VerifierKey
from keyvault.domain.policy import Policy, PolicyError
from keyvault.feeder import Feeder
from keyvault.store import Database
from keyvault.store.cosigned import Cosigned
from keyvault.witness import client
from keyvault.witness.client import WitnessClient, read_policy
from keyvault.witness.state import State
from tests.stack import free_port
from tests.store.tampering import tamper
from tests.witness.cosigners import Cosigner, policy_of
from tests.witness.places import Foreign, Inside, Ours
from tests.witness.sealed import opened, settings_for


@pytest.fixture
def log(tmp_path, sqlite_template):
    path = tmp_path / "log.db"
    copyfile(sqlite_template, path)
    with opened(f"sqlite:///{path}") as made:
        yield made


@pytest.fixture
def witness(log, tmp_path):
    with Inside(tmp_path / "w1", "witness.example/w1").make(log).running() as place:
        yield place


def named(place, name="w1", url=None):
    return f"witness {name} {place.vkey} {place.url if url is None else url}".strip()


def feeder_of(log, *lines, quorum="w1"):
    policy = Policy.parse(policy_of(*lines, f"quorum {quorum}"))
    return closing(Feeder(log.database, policy, settings_for("unused")))


def once(feeder):
    """One turn, and whatever it left under way."""
    feeder.turn()
    for future in feeder._asked.values():  # noqa: SLF001  (to wait for it)
        future.result(20)
    for name, trouble in feeder._trouble.items():  # noqa: SLF001  (the pause is over)
        feeder._trouble[name] = type(trouble)(trouble.kind)  # noqa: SLF001  (the same)


def test_our_feeder_feeds_a_foreign_witness_and_ours_under_one_note(database_url, tmp_path):
    with opened(database_url) as log:
        places = [Ours(tmp_path / "a", "witness.example/a"), Foreign(tmp_path / "b", "w.example/b")]
        for place in places:
            place.folder.mkdir()
            place.make(log).start()
        try:
            lines = [named(place, f"w{n}") for n, place in enumerate(places, 1)]
            both = [*lines, "group both all w1 w2"]
            with feeder_of(log, *both, quorum="both") as feeder:
                for count in (1, 300, 5):
                    size = log.seal(count)
                    once(feeder)
                    assert [log.cosigned(place) for place in places] == [size, size]
            policy = Policy.parse(policy_of(*both, "quorum both"))
            with log.database.reading() as reading:
                note = Note.parse(reading.audit.cosigned(306).encode())
                assert Cosigned(policy, log.origin).size(reading.audit) == 306
            assert set(policy.cosigners(note, signatures.verify_note)) == {"w1", "w2"}
        finally:
            for place in places:
                place.stop()


def test_a_witness_that_knows_less_or_more_than_was_kept_is_asked_from_there(log, witness):
    """A line may be lost after the witness signed: then it knows more than the database."""
    with feeder_of(log, named(witness)) as feeder:
        first = log.seal(3)
        with log.database.reading() as reading:
            note = reading.audit.checkpoint().note
        assert witness.post(b"old 0\n\n" + note.encode())[0] == 200
        assert log.cosigned(witness) == 0
        once(feeder)
        assert log.cosigned(witness) == first
        for count in (4, 5):
            log.seal(count)
        once(feeder)
        assert log.cosigned(witness) == 12


def test_a_dead_witness_is_one_event_and_its_return_another(log, witness):
    witness.stop()
    with feeder_of(log, named(witness)) as feeder:
        for _ in range(3):
            log.seal()
            once(feeder)
        (failed,) = log.events(EventType.WITNESS_FAILED)
        assert failed.header["st"] == "witness:w1"
        assert b"gives no answer" in failed.payload
    with feeder_of(log, named(witness)) as feeder:  # after a restart, too
        log.seal()
        once(feeder)
        assert len(log.events(EventType.WITNESS_FAILED)) == 1
        witness.start()
    with feeder_of(log, named(witness)) as feeder:
        size = log.seal()
        once(feeder)
        assert log.cosigned(witness) == size
        assert len(log.events(EventType.WITNESS_RECOVERED)) == 1


def test_one_dead_witness_of_three_delays_no_quorum(log, witness, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT", 3.0)
    second = Inside(tmp_path / "w2", "witness.example/w2")
    with second.make(log).running(), closing(_deaf()) as deaf:
        port = deaf.getsockname()[1]
        lines = [
            named(witness),
            named(second, "w2"),
            Cosigner("w3").policy(f"http://127.0.0.1:{port}"),
            "group two 2 w1 w2 w3",
        ]
        with feeder_of(log, *lines, quorum="two") as feeder:
            for _ in range(2):
                size = log.seal()
                began = time.monotonic()
                feeder.turn()
                assert time.monotonic() - began < 2.5
                assert (log.cosigned(witness), log.cosigned(second)) == (size, size)


def _deaf():
    """Something that takes connections and never answers."""
    return create_server(("127.0.0.1", 0))


def test_a_rewritten_log_is_refused_and_the_refusal_is_an_event(log, witness, tmp_path):
    with feeder_of(log, named(witness)) as feeder:
        log.seal(5)
        once(feeder)
    with (
        _elsewhere(tmp_path, log) as other,
        feeder_of(other, named(witness)) as feeder,
    ):
        other.seal(9)
        once(feeder)
        (refused,) = other.events(EventType.WITNESS_REFUSED)
        assert (refused.header["out"], refused.header["st"]) == ("refused", "witness:w1")
        assert other.cosigned(witness) == 0


def test_a_log_that_was_put_back_is_refused_and_says_how_much_was_seen(log, witness, tmp_path):
    with feeder_of(log, named(witness)) as feeder:
        log.seal(9)
        once(feeder)
    with (
        _elsewhere(tmp_path, log) as other,
        feeder_of(other, named(witness)) as feeder,
    ):
        other.seal(2)
        once(feeder)
        (refused,) = other.events(EventType.WITNESS_REFUSED)
        assert b"it has seen 9 leaves, and this log is sealed up to 2" in refused.payload


@contextmanager
def _elsewhere(tmp_path, log):
    """Another history, in another database, signed by the same keys."""
    url = f"sqlite:///{tmp_path / 'other.db'}"
    with closing(Database(url)) as database:
        database.migrate()
    with opened(url) as other:
        other.keys = log.keys
        other.sealer = other.fresh_sealer()
        yield other


def test_a_witness_that_lost_its_memory_does_not_count(log, witness):
    with feeder_of(log, named(witness)) as feeder:
        log.seal(9)
        once(feeder)
        witness.stop()
        state = State(witness.folder)
        key = VerifierKey.parse(witness.vkey)
        (witness.folder / "state.json").unlink()
        State.create(witness.folder, key).trust(log.ed25519)
        assert state.read().logs[0].known is None
        witness.start()
    with feeder_of(log, named(witness)) as feeder:
        log.seal(1)
        once(feeder)
        (refused,) = log.events(EventType.WITNESS_REFUSED)
        assert b"it has lost its memory" in refused.payload


def test_a_witness_that_does_not_know_the_log_refuses(log, tmp_path):
    place = Inside(tmp_path / "w", "witness.example/w1")
    with place.make().running(), feeder_of(log, named(place)) as feeder:
        log.seal()
        once(feeder)
        (refused,) = log.events(EventType.WITNESS_REFUSED)
        assert b"refuses with status 404" in refused.payload


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n\xff\xff\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nshort",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
        b"HTTP/1.1 409 Conflict\r\n\r\n-1\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_whatever_a_witness_answers_it_is_no_cosignature_unless_it_is_one(log, answer):
    log.seal()
    with closing(_deaf()) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(_answer_all, server, answer)
        line = Cosigner("w1").policy(f"http://127.0.0.1:{server.getsockname()[1]}")
        with feeder_of(log, line) as feeder:
            once(feeder)
        server.shutdown(SHUT_RDWR)  # which wakes the thread that waits
    told = log.events(EventType.WITNESS_FAILED) + log.events(EventType.WITNESS_REFUSED)
    assert len(told) == 1


def _answer_all(server, answer):
    while True:
        try:
            line, _ = server.accept()
        except OSError:
            return
        with line:
            line.settimeout(0.2)
            try:
                line.recv(65_536)
                line.sendall(answer)
            except OSError:
                continue


def test_a_cosignature_put_into_the_database_by_hand_counts_for_nothing(log, witness):
    log.seal(3)
    policy = Policy.parse(policy_of(named(witness), "quorum w1"))
    forged = Cosigner("w1")
    forged.key = VerifierKey.parse(witness.vkey)
    with log.database.reading() as reading:
        note = reading.audit.checkpoint().note.encode()
    with log.database.sealing() as seals:
        seals.add_cosignature(3, forged.key, forged.line(note).decode())
    with log.database.reading() as reading:
        assert reading.audit.cosigned_by(forged.key) == 3
        assert Cosigned(policy, log.origin).size(reading.audit) == 0
        assert Cosigned(None, log.origin).size(reading.audit) == 0


def test_a_quorum_over_another_tree_counts_for_nothing(log, witness):
    with feeder_of(log, named(witness)) as feeder:
        log.seal(3)
        once(feeder)
    policy = Policy.parse(policy_of(named(witness), "quorum w1"))
    with log.database.reading() as reading:
        assert Cosigned(policy, log.origin).size(reading.audit) == 3
    leaf = "(SELECT leaf_hash FROM event WHERE idx = 0)"
    tamper(log.url, f"UPDATE event SET leaf_hash = {leaf} WHERE idx = 1")  # noqa: S608  (ours)
    with log.database.reading() as reading:
        assert Cosigned(policy, log.origin).size(reading.audit) == 0


def test_a_policy_for_another_log_or_without_a_way_to_a_witness_is_named(tmp_path):
    path = tmp_path / "policy"
    settings = settings_for(path)
    with pytest.raises(PolicyError, match="cannot read"):
        read_policy(settings, "a")
    path.write_bytes(policy_of(f"log {Cosigner('x').key.vkey}", "quorum none"))
    with pytest.raises(PolicyError, match="type 4"):
        read_policy(settings, "a")
    policy = Policy.parse(policy_of(Cosigner("w1").policy("gopher://here"), "quorum w1"))
    with pytest.raises(InvalidInputError, match="no URL of http"):
        WitnessClient("w1", policy.witnesses["w1"]).newest("a")
    nobody = Policy.parse(
        policy_of(Cosigner("w1").policy(f"http://127.0.0.1:{free_port()}"), "quorum w1")
    )
    with pytest.raises(client.WitnessUnreachableError, match="gives no answer"):
        WitnessClient("w1", nobody.witnesses["w1"]).newest("a")


def test_an_act_that_nobody_knows_cannot_wait(tmp_path):
    assert settings_for(tmp_path, wait_for=["destroy-key", "authority"]).wait == 15
    with pytest.raises(ValueError, match="no command is called destroykey"):
        settings_for(tmp_path, wait_for=["destroykey"])
