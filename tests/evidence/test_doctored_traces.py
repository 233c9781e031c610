"""Traces of sessions with tokens: is a file the one that the log names, to its last line."""

import hashlib

import pytest

from keyvault.domain.canonical import canonical
from keyvault.operations.traces import FORMAT
from tests.evidence.world import World

SESSION, JOB, OTHER = "5e55", "0b0b", "0dd0"
HEAD = {"ctx": FORMAT, "session": SESSION, "job": JOB, "station": "leeds-1", "began": "now"}
LINES = [canonical(HEAD)] + [canonical({"at": at, "what": "VERIFY"}) for at in range(5)]
TEXT = b"".join(line + b"\n" for line in LINES)


def named(world, exchanges, session=SESSION, job=JOB, stream="token:1"):
    text = b"".join(line + b"\n" for line in LINES[: exchanges + 1])
    digest = hashlib.sha256(text).hexdigest()
    said = {"session": session, "exchanges": exchanges, "sha256": digest}
    names = dict.fromkeys(("token", "step", "standing", "station"), "x")
    return world.event(
        "ISSUE.STEP", {**names, "job": job, "what": "keyed", "trace": said}, stream=stream
    )


@pytest.fixture
def world():
    """A session that the log names three times, beside another of the same job."""
    made = World()
    for exchanges in (0, 2, 5):
        made.last = named(made, exchanges)
    named(made, 3, OTHER)
    return made


@pytest.fixture
def given(tmp_path):
    """The options for a file beside the bundle."""

    def write(text, name="trace.ndjson"):
        (tmp_path / name).write_bytes(text)
        return ("--trace", str(tmp_path / name))

    return write


def test_a_trace_that_the_log_names_is_told_with_its_event(world, check, given):
    status, answer = check(world.bundle(), *given(TEXT))
    told = dict(answer["transcript"])["trace"]
    assert (status, answer["problems"]) == (0, [])
    assert told.endswith(f"is the trace that the log names: event {world.last}, 5 exchanges")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEXT.replace(b'"at":1', b'"at":7'), "in its first 2 exchanges"),
        (TEXT.replace(LINES[1] + b"\n", b""), "in its first 2 exchanges"),
        (TEXT.replace(b'"station":"leeds-1"', b'"station":"leeds-2"'), "in its first 0 exchanges"),
        (TEXT.replace(JOB.encode(), b"0c0c"), "in its first 0 exchanges"),
        (TEXT.replace(LINES[-1] + b"\n", b""), "is cut off: the log names 5 exchanges"),
        (TEXT + LINES[1] + b"\n", "has 1 exchanges that no event of this bundle names"),
        (TEXT.replace(SESSION.encode(), b"5e56"), "is named by no event of this bundle"),
        (TEXT.replace(FORMAT.encode(), b"keyvault-x"), "is no trace of a session"),
        (b"", "is no trace of a session"),
        (TEXT[:-1], "does not end with a newline"),
    ],
)
def test_a_trace_that_was_changed_is_not_the_one_that_the_log_names(
    world, caught, given, text, words
):
    options = given(text)
    caught(world.bundle(), words, file=options[1], options=options)


def test_a_trace_of_a_session_that_another_job_had_is_found(caught, given):
    world = World()
    at = named(world, 5, job="0c0c")
    caught(world.bundle(), "in its first 5 exchanges", index=at, options=given(TEXT))


def test_a_good_trace_does_not_cover_a_bad_one(world, caught, given):
    options = (*given(TEXT), *given(TEXT + LINES[1] + b"\n", "other.ndjson"))
    caught(world.bundle(), "has 1 exchanges that no event", file=options[-1], options=options)


def test_a_trace_whose_events_are_withheld_is_open(world, check, given):
    status, answer = check(world.bundle(filter={"ty": ["KEY.USED"]}), *given(TEXT))
    assert (status, answer["problems"]) == (3, [])
    assert "open, since 4 events of issuing are withheld" in dict(answer["transcript"])["trace"]


def test_what_is_withheld_of_another_token_leaves_no_trace_open(world, caught, given):
    named(world, 5, OTHER, stream="token:2")
    data = world.bundle(filter={"st": ["token:1"]})
    caught(data, "has 1 exchanges that no event", options=given(TEXT + LINES[1] + b"\n"))
