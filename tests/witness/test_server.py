"""What our witness answers to requests that are not as they should be, and what it remembers."""

import subprocess
import sys
import threading
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from socket import create_connection
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault import signatures
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.notes import Checkpoint, Note, VerifierKey, cosignature_parts
from keyvault.domain.witnessing import MAX_REQUEST_SIZE, AddCheckpoint, WitnessError
from keyvault.witness import server as served
from keyvault.witness.key import WitnessKey
from keyvault.witness.server import WitnessServer
from keyvault.witness.service import Witness
from keyvault.witness.state import KEPT, State, StateLostError
from tests.witness.logs import ORIGIN, Log, digest
from tests.witness.places import COMMAND, JUDGES, ROOT, Place

NOW = 1_800_000_000


class Clock:
    now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def witness(tmp_path, log, clock):
    """A witness in this process, which watches the log."""
    key = WitnessKey.create(tmp_path / "key", "witness.example/w1", None)
    state = State.create(tmp_path, key.verifier)
    for one in log.keys:
        state.trust(one)
    return Witness(state, key, clock)


@pytest.fixture
def place(witness, tmp_path):
    server = WitnessServer(("127.0.0.1", 0), witness)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    there = Place(tmp_path, "witness.example/w1")
    there.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield there
    server.shutdown()
    server.server_close()
    thread.join()


def opened(log, line):
    """The line beside the note it was given for, under the witness's key."""
    return Note.parse(log.note() + line.encode()).signatures[-1]


# Requests -----------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_a_request_is_read_as_it_was_written(old, more):
    request = Log(old + more).request(old)
    assert AddCheckpoint.parse(request.to_bytes()) == request


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode()))
def test_whatever_is_sent_is_read_or_refused(data):
    for body in (data, b"old 0\n" + data, b"old 0\n\n" + data):
        try:
            AddCheckpoint.parse(body).opened()
        except WitnessError as error:
            assert error.status == 400  # noqa: PT017  (it may also be read)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body[:0],
        lambda body: body[4:],
        lambda body: body.replace(b"old 3", b"old 03"),
        lambda body: body.replace(b"old 3", b"old +3"),
        lambda body: body.replace(b"old 3", b"old 3 "),
        lambda body: body.replace(b"old 3", b"OLD 3"),
        lambda body: body.replace(b"old 3", b"old " + b"9" * 19),
        lambda body: body.replace(b"old 3", b"old 9"),
        lambda body: body.replace(b"old 3\n", b"old 3\r\n"),
        lambda body: body.replace(b"old 3\n", b"old 3\nAAAA\n"),
        lambda body: body.replace(b"old 3\n", b"old 3\n" + b"A" * 43 + b"=\n" * 1 + b"x\n"),
        lambda body: body.replace(b"old 3\n", b"old 3\n" + (b"A" * 43 + b"=\n") * 64),
        lambda body: body[:-1],
        lambda body: body + b"\n",
        lambda body: body.replace(b"\n8\n", b"\n08\n"),
        lambda body: body.replace(b"\n8\n", b"\n8\nextension\n"),
        lambda body: body.replace(b"\n8\n", b"\n-8\n"),
    ],
)
def test_what_is_malformed_is_a_bad_request(place, log, change):
    body = log.request(3).to_bytes()
    status, _, answer = place.post(change(body))
    assert status == 400, answer
    assert place.post(log.request(0))[0] == 200


def test_a_request_that_says_how_long_it_is_not_or_too_long_is_refused(place, log):
    body = log.request(0).to_bytes()
    assert place.post(b"x" * (MAX_REQUEST_SIZE + 1))[0] == 413
    chunked = {"Transfer-Encoding": "chunked"}
    assert place.ask("POST", "/add-checkpoint", iter([body]), chunked)[0] == 411
    assert place.ask("POST", "/add-checkpoint", body, {"Content-Length": "+1"})[0] == 400
    assert place.ask("POST", "/elsewhere", body)[0] == 404
    assert place.ask("GET", "/add-checkpoint")[0] == 404
    assert place.ask("DELETE", "/add-checkpoint")[0] == 501


def test_who_dawdles_is_hung_up_on_and_delays_nobody(place, log, monkeypatch):
    monkeypatch.setattr(served, "LIMIT", 0.5)
    parts = urlsplit(place.url)
    with create_connection((parts.hostname, parts.port), timeout=10) as slow:
        slow.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 500\r\n\r\nold")
        began = time.monotonic()
        assert place.post(log.request(0))[0] == 200
        slow.sendall(b" ")
        assert slow.recv(100) == b""
        assert time.monotonic() - began < 5


def test_more_connections_than_there_is_room_for_are_hung_up_on(place, log):
    parts = urlsplit(place.url)
    lines = [create_connection((parts.hostname, parts.port)) for _ in range(served.CONNECTIONS)]
    deadline = time.monotonic() + 10
    try:
        while time.monotonic() < deadline:
            try:
                place.post(log.request(0))
            except OSError:
                break
        else:
            pytest.fail("a connection too many was served")
    finally:
        for line in lines:
            line.close()


# Cosignatures -----------------------------------------------------------------------------------


def test_openssl_verifies_the_cosignature_from_the_bytes_of_the_specification(
    witness, log, tmp_path
):
    line = witness.add_checkpoint(log.request(0).to_bytes())
    name, blob = line.split(" ")[1:]
    data = b64decode(blob)
    key = witness._key.verifier  # noqa: SLF001  (its public half)
    assert name == "witness.example/w1"
    assert data[:4].hex() == digest(name.encode() + b"\n\x04" + key.public)[:8]
    seconds = int.from_bytes(data[4:12])
    assert seconds == NOW
    body = log.note().partition(b"\n\n")[0] + b"\n"
    (tmp_path / "message").write_bytes(b"cosignature/v1\ntime %d\n" % seconds + body)
    (tmp_path / "signature").write_bytes(data[12:])
    spki = bytes.fromhex("302a300506032b6570032100") + key.public
    (tmp_path / "public").write_bytes(spki)
    words = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER"]
    files = ["-inkey", "public", "-sigfile", "signature", "-in", "message"]
    assert subprocess.run([*words, *files], cwd=tmp_path, check=False).returncode == 0
    (tmp_path / "message").write_bytes(b"cosignature/v1\ntime %d\n" % (seconds + 1) + body)
    assert subprocess.run([*words, *files], cwd=tmp_path, check=False).returncode == 1


FOREIGN_CLIENT = """
import sys
from aics_tlog import MerkleTree, parse_note, parse_vkey, verify_cosignature, parse_checkpoint
from aics_witness.feeder import WitnessClient
url, vkey, folder = sys.argv[1:]
client = WitnessClient(url, vkey, state_path=folder + "/client.json")
tree = MerkleTree([b"event %d" % n for n in range(20)])
for size in (5, 13, 20):
    note = open(f"{folder}/{size}.note", encoding="utf-8").read()
    line = client.submit(note, tree.consistency_proof)
    print(line, end="")
"""


def test_a_foreign_client_feeds_our_witness_and_accepts_its_cosignatures(
    place, log, clock, tmp_path
):
    clock.now = int(time.time())
    log.grow(12)
    for size in (5, 13, 20):
        (tmp_path / f"{size}.note").write_bytes(log.note(size))
    vkey = State(tmp_path).read().witness.vkey
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN_CLIENT, place.url, vkey, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(JUDGES)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\u2014 witness.example/w1 ") == 3
    assert State(tmp_path).read().logs[0].known == log.checkpoint()


def test_a_cosigned_note_is_shown_to_whoever_watches_the_log(place, witness, log):
    path = f"/{digest(ORIGIN.encode())}/checkpoint"
    assert place.ask("GET", path)[0] == 404
    line = witness.add_checkpoint(log.request(0).to_bytes())
    status, _, body = place.ask("GET", path)
    assert (status, body) == (200, log.note().split(b"\n\n")[0] + b"\n\n" + body.split(b"\n\n")[1])
    note = Note.parse(body)
    assert note.signatures[-1].line == line
    note.check([State(place.folder).read().witness, *log.keys], signatures.verify_note)
    assert Checkpoint.parse(note.text) == log.checkpoint()


def test_lines_of_strangers_are_neither_needed_nor_kept(log, place):
    stray = Log().note().rpartition(b"\n\n")[2]
    request = log.request(0)
    body = AddCheckpoint(0, request.proof, request.note + stray).to_bytes()
    assert place.post(body)[0] == 200
    assert len(Note.parse(State(place.folder).read().logs[0].note.encode()).signatures) == 3


def test_times_never_go_back(witness, log, clock):
    first = witness.add_checkpoint(log.request(0).to_bytes())
    assert cosignature_parts(opened(log, first).value)[0] == NOW
    clock.now -= 1
    with pytest.raises(WitnessError, match="clock is behind") as caught:
        witness.add_checkpoint(log.grow().request(8).to_bytes())
    assert caught.value.status == 503
    assert State(witness._state.folder).read().logs[0].known.size == 8  # noqa: SLF001  (its folder)


def test_a_key_whose_signature_is_wrong_spoils_a_note_that_another_signed_well(witness, log):
    note = log.request(0).note.decode().splitlines()
    forged = note[-1][:-6] + ("AAAA==" if not note[-1].endswith("AAAA==") else "BBBB==")
    body = "\n".join([*note[:-1], forged]).encode() + b"\n"
    with pytest.raises(WitnessError) as caught:
        witness.add_checkpoint(AddCheckpoint(0, (), body).to_bytes())
    assert caught.value.status in (400, 403)


# Memory -------------------------------------------------------------------------------------------


def test_of_32_who_tell_different_stories_at_once_one_is_believed(place, log):
    """All are signed by the log and each is consistent with what the witness knew before."""
    assert place.post(log.request(0))[0] == 200

    def forked(number):
        fork = Log()
        fork.__dict__.update(log.__dict__)
        fork.leaves = [*log.leaves, b"story %d" % number]
        return fork

    forks = [forked(number) for number in range(32)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda fork: place.post(fork.request(8))[0], forks))
    assert sorted(answers) == [200] + [409] * 31
    seen = State(place.folder).read().logs[0].known
    assert seen == forks[answers.index(200)].checkpoint()


def test_a_signature_leaves_only_after_what_was_seen_is_on_the_disk(witness, log, monkeypatch):
    witness.add_checkpoint(log.request(0).to_bytes())

    def full(_path, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keyvault.durable.replace", full)
    with pytest.raises(OSError, match="No space"):
        witness.add_checkpoint(log.grow().request(8).to_bytes())


def test_evidence_is_kept_once_and_not_without_end(witness, log):
    witness.add_checkpoint(log.request(0).to_bytes())
    log.leaves[3] = b"it never happened"
    for grown in (0, 0, 1):
        with pytest.raises(WitnessError):
            witness.add_checkpoint(log.grow(grown).request(8).to_bytes())
    folder = witness._state.folder / "refused"  # noqa: SLF001  (its folder)
    assert 2 <= len(list(folder.iterdir())) <= 3  # ECDSA signs anew each time
    for number in range(KEPT):
        (folder / str(number)).touch()
    count = len(list(folder.iterdir()))
    with pytest.raises(WitnessError):
        witness.add_checkpoint(log.grow().request(8).to_bytes())
    assert len(list(folder.iterdir())) == count


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes().replace(b'"v":1', b'"v":2')),
        lambda file: file.write_bytes(file.read_bytes().replace(b"\\n8\\n", b"\\n7\\n")),
        lambda file: file.write_bytes(file.read_bytes().replace(b'"keys":[', b'"kays":[')),
    ],
)
def test_a_witness_that_lost_its_memory_signs_nothing(witness, log, spoil):
    witness.add_checkpoint(log.request(0).to_bytes())
    spoil(witness._state.folder / "state.json")  # noqa: SLF001  (its folder)
    with pytest.raises(StateLostError, match="does not know what it has seen"):
        witness.add_checkpoint(log.grow().request(8).to_bytes())


def test_a_state_serves_no_other_key(own, tmp_path):
    own.folder.mkdir()
    own.make()
    (tmp_path / "second").mkdir()
    other = WitnessKey.create(tmp_path / "second" / "key", "witness.example/w1", None)
    with pytest.raises(StateLostError, match="another key"):
        Witness(State(own.folder), other)


def test_a_key_file_is_its_owners_alone_and_may_have_a_passphrase(tmp_path):
    path = tmp_path / "key"
    made = WitnessKey.create(path, "w", b"correct horse")
    assert path.stat().st_mode & 0o777 == 0o600
    assert WitnessKey.open(path, "w", b"correct horse").verifier == made.verifier
    for wrong in (b"wrong horse", None):
        with pytest.raises(InvalidInputError, match="does not open"):
            WitnessKey.open(path, "w", wrong)
    path.chmod(0o640)
    with pytest.raises(InvalidInputError, match="others than its owner"):
        WitnessKey.open(path, "w", b"correct horse")
    with pytest.raises(InvalidInputError, match="exists already"):
        WitnessKey.create(path, "w", None)
    with pytest.raises(InvalidInputError, match="at least 8"):
        WitnessKey.create(tmp_path / "short", "w", b"short")


# Without a network --------------------------------------------------------------------------------


def test_files_carried_by_hand_meet_the_same_checks_and_the_same_memory(own, log):
    own.folder.mkdir()
    own.make(log)
    request, out = own.folder / "request", own.folder / "cosignature"
    request.write_bytes(log.request(0).to_bytes())
    own.run("sign", "--in", str(request), "--out", str(out))
    key = VerifierKey.parse(own.vkey)
    Note.parse(log.note() + out.read_bytes()).check([key], signatures.verify_note)
    out.unlink()
    log.leaves[3] = b"it never happened"
    request.write_bytes(log.grow().request(8).to_bytes())
    words = ["witness", "sign", "--in", str(request), "--out", str(out)]
    done = subprocess.run(
        [*COMMAND, *words, "--folder", str(own.folder)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 76
    assert "does not continue the 8 seen" in done.stderr
    assert "runbook witness-refuses" in done.stderr
    assert not out.exists()
    assert "8" in own.run("show")
