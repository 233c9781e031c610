"""Cosignatures in a bundle: whom the reader's own policy asks for has to have signed this head."""

import base64

import pytest

from keyvault.domain.audit import EventType
from keyvault.domain.notes import VerifierKey
from tests.evidence.world import LOG_KEYS, World, resigned, rezip, unzip
from tests.witness.cosigners import NOW, Cosigner, policy_of, two_of

WORLD = World()
for number in range(5):
    WORLD.event(EventType.AUDIT_QUERIED, {"n": number})
W1, W2, W3 = W = [Cosigner(name) for name in ("w1", "w2", "w3")]
NOTE = WORLD.note()
POLICY = two_of(*W)
COSIGNED = NOTE + W1.line(NOTE) + W2.line(NOTE, NOW + 60)


@pytest.fixture
def policy(tmp_path):
    """Write a policy of the reader's own and return the option that names it."""

    def written(text):
        (tmp_path / "mine.policy").write_bytes(text)
        return "--policy", str(tmp_path / "mine.policy")

    return written


def bundle(note=COSIGNED, text=POLICY):
    return WORLD.bundle(checkpoint=note, policy=text)


def said(answer, word):
    return " ".join(sentence for mark, sentence in answer["transcript"] if mark == word)


def test_a_quorum_of_the_readers_own_policy_is_named_with_its_times(check, policy):
    status, answer = check(bundle(), *policy(POLICY))
    assert (status, answer["problems"]) == (0, [])
    assert said(answer, "witness") == (
        "witnessed by w1 at 2026-11-18 11:06:40 UTC witnessed by w2 at 2026-11-18 11:07:40 UTC"
    )
    assert "no witness has cosigned" not in said(answer, "limit")
    assert "in these witnesses" not in said(answer, "TRUST")


def test_without_a_policy_of_the_readers_own_that_is_said(check):
    status, answer = check(bundle())
    assert status == 0
    assert "witnessed by w1" in said(answer, "witness")
    assert "give your policy as --policy" in said(answer, "TRUST")


def test_without_witnesses_that_is_a_limit(check, policy):
    status, answer = check(bundle(NOTE, b""))
    assert status == 0
    assert "no witness has cosigned" in said(answer, "limit")
    status, answer = check(bundle(NOTE, b""), *policy(b"quorum none\n"))
    assert status == 0
    assert "no witness has cosigned" in said(answer, "limit")


@pytest.mark.parametrize(
    ("note", "missing"),
    [
        (NOTE, "w1, w2, w3"),
        (NOTE + W2.line(NOTE), "w1, w3"),
        (NOTE + W2.line(NOTE) + Cosigner("w1").line(NOTE), "w1, w3"),
    ],
)
def test_too_few_are_too_few_and_those_missing_are_named(caught, policy, note, missing):
    words = f"quorum any-two is not reached without {missing}"
    caught(bundle(note), words, options=policy(POLICY))


def test_the_bundles_own_policy_does_not_loosen_the_readers(caught, policy):
    data = bundle(NOTE + W1.line(NOTE), policy_of(W1.policy(), "quorum w1"))
    caught(data, "quorum any-two is not reached without w2, w3", options=policy(POLICY))


@pytest.mark.parametrize(
    "line",
    [
        lambda: W1.line(WORLD.note(3)),
        lambda: redated(W1.line(NOTE), NOW + 1),
        lambda: flipped(W1.line(NOTE)),
    ],
    ids=["of an earlier head", "redated", "flipped"],
)
def test_a_line_of_a_witness_that_is_not_good_is_wrong(caught, policy, line):
    data = bundle(NOTE + line() + W2.line(NOTE) + W3.line(NOTE))
    words = "the cosignature of witness w1 is not valid"
    caught(data, words)
    caught(data, words, options=policy(POLICY))


def blob_of(line):
    dash, name, blob = line.decode().split(" ")
    return dash, name, base64.b64decode(blob)


def with_blob(line, blob):
    dash, name, _ = blob_of(line)
    return f"{dash} {name} {base64.b64encode(blob).decode()}\n".encode()


def redated(line, seconds):
    blob = blob_of(line)[2]
    return with_blob(line, blob[:4] + seconds.to_bytes(8, "big") + blob[12:])


def flipped(line):
    blob = blob_of(line)[2]
    return with_blob(line, blob[:-1] + bytes([blob[-1] ^ 1]))


def test_a_policy_may_name_the_log_and_then_means_no_other(check, caught, policy):
    ours = policy_of(f"log {LOG_KEYS[0].vkey}") + POLICY
    assert check(bundle(), *policy(ours))[0] == 0
    another = VerifierKey("another.log", 1, Cosigner("x").key.public)
    strange = policy_of(f"log {another.vkey}") + POLICY
    caught(bundle(), "no log that the policy names has signed it", options=policy(strange))


@pytest.mark.parametrize("text", [b"", b"quorum\n", b"nonsense\n", b"\x00\n", POLICY[:-1]])
def test_a_policy_that_is_none_stops_nothing_silently(caught, policy, text):
    caught(bundle(), "", options=policy(text))


def test_cosignatures_taken_away_are_missed_though_the_manifest_was_signed_again(caught, policy):
    files = unzip(bundle())
    files["checkpoints/newest.note"] = NOTE
    caught(rezip(resigned(files)), "is not reached without w1", options=policy(POLICY))


def test_a_policy_that_cannot_be_read_is_no_verdict(check):
    status, answer = check(bundle(), "--policy", "nowhere.policy")
    assert (status, answer["verdict"]) == (2, "the evidence could not be checked")
