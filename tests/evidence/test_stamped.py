"""Time stamps in evidence: each is over this log, and one that was forged is no time."""

from hashlib import sha256

import pytest

from keyvault.domain.audit import EventType
from keyvault.domain.notes import Checkpoint, sign_checkpoint
from keyvault.domain.times import text_of
from keyvault.domain.tree import range_proof
from keyvault.evidence.bundle import range_proof_text
from keyvault.timestamps.client import ask
from tests.evidence.world import EDWARDS, LOG_KEYS, ORIGIN, World, resigned, rezip, unzip
from tests.timestamps.conftest import authority

SIZE = 4  # leaves of the log when it was stamped


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t")
    with authority(folder / "1", "first") as one, authority(folder / "2", "second") as other:
        yield one, other


@pytest.fixture(scope="module")
def files(authorities):
    """A bundle of a log that was stamped, tells of it, and went on."""
    world = World()
    for number in range(SIZE - 1):
        world.event(EventType.AUDIT_QUERIED, {"n": number})
    note = world.note(SIZE)
    token = ask(authorities[0], note)
    told = {"authority": "first", "size": SIZE, "time": text_of(token.stamped_at)}
    told["sha256"] = sha256(token.reply).hexdigest()
    world.event(EventType.TIME_STAMPED, told, stream="time:first", actor="service:stamper")
    world.event(EventType.AUDIT_QUERIED, {"n": SIZE})
    proof = range_proof(world.reader, SIZE, SIZE, len(world.leaves))
    return unzip(
        world.bundle(
            tsa={
                f"{SIZE}.note": note,
                f"{SIZE}.proof": range_proof_text(proof),
                f"{SIZE}-first.tsr": token.reply,
                "first.pem": authorities[0].ca.read_bytes(),
            }
        )
    )


def said(answer, word):
    return " ".join(sentence for mark, sentence in answer["transcript"] if mark == word)


def test_a_stamp_is_named_with_its_time_and_whose_roots_it_rests_on(check, files, authorities):
    status, answer = check(rezip(files))
    assert (status, answer["problems"]) == (0, [])
    assert f"first stamped the log of {SIZE} events at 20" in said(answer, "time")
    assert "time rests on the bundle's own roots" in said(answer, "limit")
    status, answer = check(rezip(files), "--tsa-ca", str(authorities[0].ca))
    assert status == 0
    assert "time rests on" not in said(answer, "limit")


def test_a_stamp_by_another_than_the_reader_trusts_is_wrong(caught, files, authorities):
    options = ("--tsa-ca", str(authorities[1].ca))
    caught(rezip(files), "did not stamp this checkpoint", f"tsa/{SIZE}-first.tsr", options=options)


def test_a_forged_time_stamp_is_wrong(caught, files, authorities):
    forged = ask(authorities[1], files[f"tsa/{SIZE}.note"]).reply
    changed = {**files, f"tsa/{SIZE}-first.tsr": forged}
    caught(rezip(resigned(changed)), "is not the token that event", f"tsa/{SIZE}-first.tsr")
    del changed[f"tsa/{SIZE}-first.tsr"]
    mine = {f"tsa/{SIZE}-other.tsr": forged, "tsa/other.pem": files["tsa/first.pem"]}
    unnamed = {**changed, **mine}
    caught(rezip(resigned(unnamed)), "did not stamp this checkpoint", f"tsa/{SIZE}-other.tsr")


def test_a_stamp_over_another_log_is_wrong(caught, files, authorities):
    other = sign_checkpoint(Checkpoint(ORIGIN, SIZE, bytes(32)), [(LOG_KEYS[0], EDWARDS.sign)])
    note = other.to_bytes()
    changed = {**files, f"tsa/{SIZE}.note": note}
    changed[f"tsa/{SIZE}-x.tsr"] = ask(authorities[0], note).reply
    changed["tsa/x.pem"] = files["tsa/first.pem"]
    del changed[f"tsa/{SIZE}-first.tsr"]
    caught(rezip(resigned(changed)), "history was rewritten", f"tsa/{SIZE}.proof")


def test_a_bundle_without_stamps_says_that_times_are_the_services_own(check):
    world = World()
    world.event(EventType.AUDIT_QUERIED, {})
    status, answer = check(world.bundle())
    assert status == 0
    assert "no time stamp authority has confirmed them" in said(answer, "limit")
