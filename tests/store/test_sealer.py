"""The sealer: signs what it has checked itself, names the first bad event, and then stops."""

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from keyvault import signatures
from keyvault.domain.notes import (
    Checkpoint,
    SignatureType,
    VerifierKey,
    open_checkpoint,
    sign_checkpoint,
)
from keyvault.domain.tree import HashReader, consistency_proof, root_of, verify_consistency
from keyvault.sealer import Sealer
from keyvault.shadow import BrokenLogError, Shadow
from keyvault.store import Database
from keyvault.store.engine import open_engine, writing
from tests.store.events import check_log, used
from tests.store.tampering import tamper

ORIGIN = "example.com/log/2026-1"


class LogKeys:
    """What the log gate does, with keys in memory: builds the body itself and signs it twice."""

    def __init__(self) -> None:
        p256 = ec.generate_private_key(ec.SECP256R1())
        edwards = ed25519.Ed25519PrivateKey.generate()
        spki, raw = signatures.spki_der(p256.public_key()), edwards.public_key().public_bytes_raw()
        self.keys = [
            VerifierKey(ORIGIN, SignatureType.ECDSA, spki),
            VerifierKey(ORIGIN, SignatureType.ED25519, raw),
        ]
        self._signers = [
            (self.keys[0], lambda message: p256.sign(message, signatures.ALGORITHM)),
            (self.keys[1], edwards.sign),
        ]

    def seal(self, size: int, root: bytes) -> str:
        return sign_checkpoint(Checkpoint(ORIGIN, size, root), self._signers).to_bytes().decode()


@pytest.fixture(scope="module")
def gate() -> LogKeys:
    return LogKeys()


@pytest.fixture
def sealer(database: Database, gate: LogKeys) -> Sealer:
    return Sealer(database, gate.seal, gate.keys, ORIGIN)


@given(st.integers(0, 700), st.integers(0, 700))
@settings(max_examples=30, deadline=None)
def test_the_shadow_is_the_tree_that_rfc_6962_defines(old: int, more: int) -> None:
    leaves = [sha256(bytes([n % 256, n // 256])).digest() for n in range(old + more)]
    shadow = Shadow(HashReader(leaves[:old]), old)
    for leaf in leaves[old:]:
        shadow.add(leaf)
    assert (shadow.size, shadow.root) == (old + more, root_of(leaves))
    tiles = range(old // 256, (old + more) // 256)
    assert shadow.full == [(0, n, b"".join(leaves[256 * n : 256 * n + 256])) for n in tiles]


def test_tiles_of_higher_levels_fill_up_as_well() -> None:
    leaves = [sha256(n.to_bytes(4)).digest() for n in range(65_536)]
    shadow = Shadow(HashReader(leaves[:65_000]), 65_000)
    for leaf in leaves[65_000:]:
        shadow.add(leaf)
    read = HashReader(leaves)
    assert [(level, number) for level, number, _ in shadow.full][-2:] == [(0, 255), (1, 0)]
    assert shadow.full[-1][2] == b"".join(read(8, number) for number in range(256))
    assert shadow.root == root_of(leaves)


def test_checkpoints_are_signed_stored_and_follow_one_another(
    database: Database, sealer: Sealer, gate: LogKeys
) -> None:
    assert sealer.seal() is None
    sizes = []
    for count in (1, 300, 260):
        _append(database, count)
        sealed = sealer.seal()
        assert sealed is not None
        sizes.append(sealed.size)
    assert sizes == [1, 301, 561]
    assert sealer.seal() is None
    with database.reading() as reading:
        stored, read = reading.audit.checkpoints(), reading.audit.hashes()
        notes = [
            open_checkpoint(one.note.encode(), gate.keys, signatures.verify_note) for one in stored
        ]
        assert [note.size for note in notes] == sizes
        proof = consistency_proof(read, 301, 561)
        verify_consistency(301, 561, proof, notes[1].root, notes[2].root)
        covering, newest = reading.audit.checkpoint(at_least=2), reading.audit.checkpoint()
        assert (covering, newest) == (stored[1], stored[2])
        assert reading.audit.checkpoint(at_least=562) is None
        assert reading.audit.latest_checkpoint_size() == 561
        assert notes[2].root == reading.audit.head().root
    check_log(database)


def test_events_quote_the_newest_checkpoint(database: Database, sealer: Sealer) -> None:
    _append(database, 3)
    sealed = sealer.seal()
    assert sealed is not None
    _append(database, 1)
    with database.reading() as reading:
        assert reading.audit.event(3).header["cp"] == f"3:{sealed.root.hex()[:8]}"


def test_full_tiles_are_stored_and_proofs_read_them(
    database: Database, database_url: str, sealer: Sealer
) -> None:
    _append(database, 600)
    sealer.seal()
    engine = open_engine(database_url)
    with writing(engine) as connection:
        tiles = connection.execute(text("SELECT level, number, hashes FROM tile ORDER BY number"))
        assert [(row.level, row.number, len(row.hashes)) for row in tiles] == [
            (0, 0, 8192),
            (0, 1, 8192),
        ]
    engine.dispose()
    check_log(database)


def test_another_sealer_goes_on_where_one_stopped(
    database: Database, sealer: Sealer, gate: LogKeys
) -> None:
    second = Sealer(database, gate.seal, gate.keys, ORIGIN)
    for turn in (sealer, second, second, sealer, second):
        _append(database, 150)
        assert turn.seal() is not None
    check_log(database)


def test_a_gate_that_is_away_costs_nothing_but_time(database: Database, gate: LogKeys) -> None:
    answers = iter([False, True])

    def seal(size: int, root: bytes) -> str:
        if not next(answers):
            raise ConnectionError("the gate is restarting")
        return gate.seal(size, root)

    sealer = Sealer(database, seal, gate.keys, ORIGIN)
    _append(database, 300)
    with pytest.raises(ConnectionError):
        sealer.seal()
    _append(database, 1)
    sealed = sealer.seal()
    assert sealed is not None
    assert sealed.size == 301
    check_log(database)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("UPDATE event SET leaf = (SELECT leaf FROM event WHERE idx = 3) WHERE idx = 7", "event 7"),
        ("UPDATE event SET leaf_hash = (SELECT leaf_hash FROM event WHERE idx = 3) WHERE idx = 7",
         "event 7"),
        ("UPDATE event SET actor = 'person:alice' WHERE idx = 7", "event 7 is filed"),
        ("UPDATE event SET time_ms = time_ms + 1 WHERE idx = 7", "event 7 is filed"),
        ("UPDATE event_payload SET payload = salt WHERE idx = 7", "payload of event 7"),
        ("UPDATE event_payload SET salt = payload WHERE idx = 7", "payload of event 7"),
        ("DELETE FROM event WHERE idx = 7", "event 7 is missing"),
        ("DELETE FROM event WHERE idx = 9", "do not lead to the head"),
        ("UPDATE log_head SET root = (SELECT leaf_hash FROM event WHERE idx = 3)",
         "do not lead to the head"),
        ("UPDATE log_head SET size = 4", "4 events and 5 were sealed"),
        ("UPDATE event SET leaf_hash = (SELECT leaf_hash FROM event WHERE idx = 3) WHERE idx = 2",
         None),
    ],
)  # fmt: skip
def test_nothing_is_sealed_on_top_of_a_changed_log(
    database: Database, database_url: str, gate: LogKeys, change: str, complaint: str | None
) -> None:
    """By somebody who owns the database and takes the triggers away first."""
    _append(database, 5)
    Sealer(database, gate.seal, gate.keys, ORIGIN).seal()
    _append(database, 5)
    tamper(database_url, change)
    with pytest.raises(BrokenLogError, match=complaint or "checkpoint of 5"):
        Sealer(database, gate.seal, gate.keys, ORIGIN).seal()
    with database.reading() as reading:
        assert reading.audit.latest_checkpoint_size() == 5


def test_an_erased_payload_does_not_stop_the_sealer(
    database: Database, database_url: str, sealer: Sealer
) -> None:
    _append(database, 3)
    tamper(database_url, "UPDATE event_payload SET salt = NULL, payload = NULL, erased_at = 1")
    assert sealer.seal() is not None


def test_a_signature_by_a_foreign_key_is_not_stored(database: Database, gate: LogKeys) -> None:
    sealer = Sealer(database, LogKeys().seal, gate.keys, ORIGIN)
    _append(database, 3)
    with pytest.raises(BrokenLogError, match="no known key"):
        sealer.seal()
    with database.reading() as reading:
        assert reading.audit.checkpoint() is None


def test_a_note_over_another_root_is_not_stored(database: Database, gate: LogKeys) -> None:
    sealer = Sealer(database, lambda size, _: gate.seal(size, bytes(32)), gate.keys, ORIGIN)
    _append(database, 3)
    with pytest.raises(BrokenLogError, match="something else"):
        sealer.seal()


def test_a_checkpoint_that_was_exchanged_is_noticed_at_the_start(
    database: Database, database_url: str, gate: LogKeys
) -> None:
    _append(database, 5)
    Sealer(database, gate.seal, gate.keys, ORIGIN).seal()
    forged = LogKeys().seal(5, bytes(32))
    tamper(database_url, f"UPDATE checkpoint SET note = '{forged}'")  # noqa: S608  (our own)
    with pytest.raises(BrokenLogError, match="does not hold"):
        Sealer(database, gate.seal, gate.keys, ORIGIN).seal()


def test_a_sealer_remembers_what_it_sealed(
    database: Database, database_url: str, sealer: Sealer
) -> None:
    """A checkpoint is taken away so that the log may be written anew from there, and grow."""
    _append(database, 3)
    sealer.seal()
    _append(database, 3)
    sealer.seal()
    tamper(database_url, "DELETE FROM checkpoint WHERE size = 6")
    _append(database, 3)
    with pytest.raises(BrokenLogError, match="whose 6 events were sealed"):
        sealer.seal()


def test_what_is_no_event_is_named(database: Database, database_url: str, gate: LogKeys) -> None:
    _append(database, 3)
    digest = sha256(b"\0" + b"{}").hexdigest()
    literal = "x'{}'" if database_url.startswith("sqlite") else "'\\x{}'"
    values = f"leaf = {literal.format(b'{}'.hex())}, leaf_hash = {literal.format(digest)}"
    tamper(database_url, f"UPDATE event SET {values} WHERE idx = 1")  # noqa: S608  (our own)
    with pytest.raises(BrokenLogError, match="event 1 is no event"):
        Sealer(database, gate.seal, gate.keys, ORIGIN).seal()


def _append(database: Database, count: int) -> None:
    with database.work() as work:
        work.commit(*[used() for _ in range(count)])
