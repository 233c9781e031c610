"""Who had a token, told from events alone: nothing is told that they do not bear out."""

import pytest

from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.tokens import Hands
from keyvault.evidence.verifier.words import Wrong

TOKEN, OTHER = "6a", "7b"
DONE = {"out": "ok"}


def at(second: int) -> str:
    return f"2026-11-22T15:00:{second:02d}Z"


def entry(number: int, giver: str, taker: str, token: str = TOKEN, **more):
    told = {"token": token, "number": number, "giver": giver, "taker": taker, "at": at(number * 10)}
    return {**told, **more}


def hands(*entries, asked: str = TOKEN, when: int = 59) -> Hands:
    report = Report()
    report.who_had = (asked, at(when))
    made = Hands(None, None, report)
    for index, each in enumerate(entries):
        made.event(index, DONE, each)
    return made


def told(*entries, **more) -> str:
    made = hands(*entries, **more)
    made.finish()
    [(mark, sentence)] = made.report.lines
    assert mark == "custody"
    return sentence.partition("Z: ")[2]


FIRST, SECOND = entry(1, "Acme", "ivan"), entry(2, "ivan", "erin")


def test_one_name_is_told_for_any_time():
    both = (FIRST, entry(1, "Acme", "dan", OTHER), SECOND)
    assert told(*both, when=9) == "nobody here had it"
    assert told(*both, when=10).startswith("ivan had it")
    assert told(*both, when=19).startswith("ivan had it")
    assert told(*both, when=20).startswith("erin had it")
    assert told(*both, asked=OTHER).startswith("dan had it")


def test_what_is_missing_or_withheld_leaves_the_question_open():
    assert "not in this bundle" in told()
    assert "not in this bundle" in told(SECOND)
    assert "not in this bundle" in told(FIRST, entry(3, "erin", "ivan"))
    assert "1 changes of hands are withheld" in told(FIRST, None)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (entry(2, "wendy", "erin"), "did not have"),
        (entry(1, "Acme", "erin"), "second time"),
        (
            entry(2, "ivan", "erin", statement={"statement": {"step": "deliver", "second": "x"}}),
            "did not sign",
        ),
    ],
    ids=["giver-had-it-not", "entry-twice", "taker-did-not-sign"],
)
def test_a_ledger_that_contradicts_itself_is_wrong(more, why):
    with pytest.raises(Wrong, match=why):
        hands(FIRST, more)
