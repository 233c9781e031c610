"""Bundles whose samples, erasures or hand-overs somebody doctored, with the evidence key."""

import hashlib
import json

import pytest

from keyvault.domain import commands as c
from keyvault.domain.audit import Outcome
from keyvault.domain.canonical import canonical
from keyvault.domain.evidence import HANDOVER, RECEIPT
from keyvault.domain.people import thumbprint
from keyvault.domain.times import text_of
from keyvault.domain.tree import inclusion_proof
from keyvault.evidence.choosing import draw
from keyvault.evidence.lone import Lone
from keyvault.evidence.verifier import PARTS
from tests.evidence.people import PEOPLE
from tests.evidence.world import EVIDENCE, STRANGER, b64, full_world, resigned, rezip, unzip

EVENTS, ERASURES = "events.ndjson", "erasures.ndjson"


def erased_world():
    """A world in which two payloads are gone, because people decided that."""
    world = full_world()
    gone = [i for i, leaf in enumerate(world.leaves) if b"KEY.USED" in leaf.data][:2]
    command = c.ErasePayload(tuple(gone), "GDPR article 17", "asked for")
    document = world.request(command).document
    approvals = [world.approval(name, document).document() for name in ("bob", "carol")]
    signed = {"request": document, "approvals": approvals}
    event = world.event("PAYLOAD.ERASED", {**signed, "events": gone, "ground": command.ground})
    for index in gone:
        leaf = world.leaves[index]
        world.leaves[index] = type(leaf)(leaf.data, leaf.hash, b"", b"")
    path = inclusion_proof(world.reader, event, len(world.leaves))
    return world, gone, Lone(event, world.leaves[event], path)


WORLD, GONE, ERASURE = erased_world()
ERASED = unzip(WORLD.bundle(erasures=(ERASURE.line(),)))
WHOLE = full_world()
CHOSEN = {"ty": ["KEY.USED"]}
SAMPLE = draw(iter(WHOLE.leaves), 0, CHOSEN, "2026-11", 2, WHOLE.tree().root)
SAMPLED = unzip(WHOLE.bundle(filter=CHOSEN, sample=SAMPLE))


def rows_of(files, name=EVENTS):
    return [json.loads(line) for line in files[name].splitlines()]


def with_rows(files, rows, name=EVENTS):
    return {**files, name: b"".join(canonical(row) + b"\n" for row in rows)}


def doctored(files, **changes):
    return rezip(resigned(files, EVIDENCE.sign, **changes))


def edited_erasure(change):
    rows = rows_of(ERASED, ERASURES)
    change(rows[0])
    return with_rows(ERASED, rows, ERASURES)


def test_they_are_good_before_anybody_touches_them(check):
    for files in (ERASED, SAMPLED):
        status, answer = check(doctored(files))
        assert (status, answer["problems"]) == (0, [])
    assert sum("e" in row for row in rows_of(ERASED)) == 2
    assert sum("p" in row for row in rows_of(SAMPLED)) == 2


def one_more_erased(files):
    rows = rows_of(files)
    at = next(row["i"] for row in rows if "p" in row and row["h"]["ty"] == "KEY.SUSPENDED")
    commitment = json.loads(WORLD.leaves[at].data)["p"]
    rows[at] = {"c": commitment, "e": 1, "h": rows[at]["h"], "i": at}
    return with_rows(files, rows)


def test_an_event_nobody_agreed_to_erase_cannot_be_called_erased(caught):
    caught(doctored(one_more_erased(ERASED)), "is erased, and nobody approved that", EVENTS)


def test_erased_events_without_the_event_of_their_erasure_are_refused(caught):
    files = {name: data for name, data in ERASED.items() if name != ERASURES}
    caught(doctored(files), "is erased, and nobody approved that", EVENTS, GONE[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row["p"]["events"].append(3), "is not in the log"),
        (lambda row: row["path"].reverse(), "is not in the log"),
        (lambda row: row["path"].pop(), "the path is too short"),
        (lambda row: row["path"].append(row["path"][0]), "the path is too long"),
        (lambda row: row.update(i=row["i"] - 1), "is not in the log"),
        (lambda row: row.update(x=1), "row has other fields"),
        (lambda row: row["h"].update(ty="KEY.USED"), "is not in the log"),
    ],
)
def test_a_changed_proof_of_an_erasure_is_refused(caught, change, words):
    caught(doctored(edited_erasure(change)), words, ERASURES)


def test_an_erasure_that_one_person_approved_is_refused(caught):
    world, gone = full_world(), 20
    command = c.ErasePayload((gone,), "none", "to hide it")
    document = world.request(command).document
    approvals = [world.approval("bob", document).document()]
    payload = {"request": document, "approvals": approvals, "events": [gone], "ground": "none"}
    event = world.event("PAYLOAD.ERASED", payload)
    path = inclusion_proof(world.reader, event, len(world.leaves))
    lone = Lone(event, world.leaves[event], path)
    caught(world.bundle(erasures=(lone.line(),)), "1 of 2 approvals", ERASURES)


def test_a_sampled_event_cannot_be_exchanged_for_another(caught):
    rows = rows_of(SAMPLED)
    at = next(row["i"] for row in rows if "p" in row)
    rows[at] = {"c": json.loads(WHOLE.leaves[at].data)["p"], "h": rows[at]["h"], "i": at}
    caught(doctored(with_rows(SAMPLED, rows)), "matches the filter but is withheld", EVENTS, at)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": "another"}, ""),
        ({"population": 3}, "events, not more"),
        ({"count": 1}, "does not match the filter"),
    ],
)
def test_a_sample_that_was_drawn_in_another_way_is_refused(caught, changes, words):
    sample = {**SAMPLE.document(), **changes}
    seeded = draw(iter(WHOLE.leaves), 0, CHOSEN, "another", 2, WHOLE.tree().root)
    if seeded.picked != SAMPLE.picked or "seed" not in changes:
        caught(doctored(SAMPLED, sample=sample), words)


def handed(bundle, who="bob", key=None, **changes):
    entry = {
        "ctx": "keyvault-handover-v1",
        "bundle": hashlib.sha256(bundle).hexdigest(),
        "seq": 0,
        "prev": "0" * 64,
        "from": who,
        "to": "Ann Auditor",
        "place": "Leeds",
        "at": text_of(WHOLE.now),
        "credential": thumbprint(PEOPLE[who].spki),
        **changes,
    }
    signature = (key or PEOPLE[who]).sign(canonical(entry))
    return canonical({**entry, "signature": b64(signature)}) + b"\n"


BUNDLE = WHOLE.bundle()
FIRST = handed(BUNDLE)
AFTER = {"seq": 1, "prev": hashlib.sha256(FIRST[:-1]).hexdigest()}
SECOND = handed(BUNDLE, "carol", **AFTER)


def received(chain, by="Ann Auditor", key=STRANGER, **changes):
    """The chain with one more line: a receipt by somebody with a key of their own."""
    return chain + outside(chain, key, {"ctx": RECEIPT, "by": by, "key": b64(key.spki), **changes})


def passed_on(chain, by="Ann Auditor", key=STRANGER, **changes):
    said = {"ctx": HANDOVER, "from": by, "to": "Bo", "credential": thumbprint(key.spki)}
    return chain + outside(chain, key, {**said, **changes})


def outside(chain, key, said):
    lines = chain.splitlines()
    before = hashlib.sha256(lines[-1]).hexdigest() if lines else "0" * 64
    begun = {"bundle": hashlib.sha256(BUNDLE).hexdigest(), "seq": len(lines), "prev": before}
    entry = {**begun, "at": text_of(WHOLE.now), "place": "Leeds", **said}
    return canonical({**entry, "signature": b64(key.sign(canonical(entry)))}) + b"\n"


RECEIVED = received(FIRST)
ON = passed_on(RECEIVED)


def test_who_is_outside_signs_for_a_bundle_and_passes_it_on(check, tmp_path):
    (tmp_path / "custody").write_bytes(received(ON, "Bo", PEOPLE["erin"]))
    status, answer = check(BUNDLE, "--custody", str(tmp_path / "custody"))
    told = [text for mark, text in answer["transcript"] if mark == "custody"]
    assert (status, answer["problems"]) == (0, [])
    assert f"compare {thumbprint(STRANGER.spki)}" in told[1]
    assert told[2].startswith("Ann Auditor handed the bundle to Bo")
    assert len(told) == 4


def test_a_chain_of_hand_overs_holds(check, tmp_path):
    (tmp_path / "custody").write_bytes(FIRST + SECOND)
    status, answer = check(BUNDLE, "--custody", str(tmp_path / "custody"))
    told = [text for mark, text in answer["transcript"] if mark == "custody"]
    assert (status, len(told)) == (0, 2)


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (SECOND, "does not follow the hand-over before it"),
        (FIRST + FIRST, "does not follow the hand-over before it"),
        (FIRST[:-1], "does not end with a newline"),
        (FIRST.replace(b"Leeds", b"Paris"), "the signature of bob on the hand-over is not valid"),
        (handed(b"another"), "is about another bundle"),
        (handed(BUNDLE, key=PEOPLE["carol"]), "the signature of bob on the hand-over"),
        (handed(BUNDLE, "erin"), "erin did not sign with an enrolled key"),
        (handed(BUNDLE, at="2020-01-01T00:00:00Z"), "is older than what came before it"),
        (handed(BUNDLE, ctx="keyvault-login-v1"), "is no hand-over"),
        (handed(BUNDLE, extra="x"), "is no hand-over"),
        (received(b""), "received what nobody handed to them"),
        (received(FIRST, "Eve"), "Eve received what nobody handed to them"),
        (received(FIRST, x="y"), "is no hand-over and no receipt"),
        (RECEIVED.replace(b"Leeds", b"Paris"), "does not follow the hand-over before it"),
        (
            FIRST + RECEIVED[len(FIRST) :].replace(b"Leeds", b"Paris"),
            "of Ann Auditor on the receipt",
        ),
        (passed_on(FIRST), "did not sign with an enrolled key"),
        (passed_on(RECEIVED, key=PEOPLE["erin"]), "Ann Auditor signed with another key"),
        (passed_on(ON), "Ann Auditor did not have it to give away"),
        (received(handed(BUNDLE, to="carol"), "carol"), "carol is enrolled"),
        (
            received(passed_on(RECEIVED, to="Ann Auditor"), key=PEOPLE["erin"]),
            "signed with another key than before",
        ),
    ],
)
def test_a_doctored_chain_of_hand_overs_is_refused(caught, tmp_path, chain, words):
    (tmp_path / "custody").write_bytes(chain)
    caught(BUNDLE, words, options=("--custody", str(tmp_path / "custody")))


def exported(outcome):
    world = full_world()
    key = world.unique()
    world.event("KEY.EXPORTED", {"key": str(key)}, stream=f"key:{key}", outcome=outcome)
    return world


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.FAIL])
def test_that_no_key_was_exported_is_refuted_by_one_that_may_have_been(check, outcome):
    world = exported(outcome)
    status, answer = check(world.bundle(), "--query", "no-export")
    refuted = outcome is Outcome.UNKNOWN
    assert (status, answer["problems"]) == (3 if refuted else 0, [])
    assert answer["queries"]["no-export"].startswith("refuted" if refuted else "proved")


def test_an_export_cannot_be_hidden_from_the_claim_that_there_was_none(caught):
    files = unzip(exported(Outcome.UNKNOWN).bundle(filter={"ty": ["KEY.USED"]}))
    rows = rows_of(files)
    rows[-1]["h"]["ty"] = "KEY.USE_DENIED"
    words = "event is not what the log holds at this place"
    caught(doctored(with_rows(files, rows)), words, EVENTS, len(rows) - 1)
    short = with_rows(files, rows[:-1])
    caught(doctored(short), "the rows end at")


def test_a_query_that_is_not_proved_has_an_exit_status_of_its_own(check, tmp_path):
    transcript = tmp_path / "transcript.txt"
    ask = ("--query", "no-single-person-act", "--transcript", str(transcript))
    assert check(BUNDLE, *ask)[0] == 0
    assert "query    no-export: proved" in transcript.read_text()
    assert check(rezip(SAMPLED), *ask)[0] == 3
    assert "open: " in transcript.read_text()


def test_no_two_parts_of_the_verifier_define_the_same_name():
    assert len(set(PARTS)) == len(PARTS)
