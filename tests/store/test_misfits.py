"""Events that do not fit the closed list: what is refused, and what is written and told."""

import json
from dataclasses import replace

import pytest

from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.errors import EventMisfitError
from keyvault.recorder import Recorder
from keyvault.store import Database
from keyvault.store.recorder_client import Record
from tests.store.events import check_log, used

WORDS = "colour of KEY.USED is not in the list, or of another kind"


def told(database: Database) -> list[tuple[str, dict[str, str]]]:
    with database.reading() as reading:
        events = reading.audit.events(0, reading.audit.head().size)
        return [
            (event.header["st"], json.loads(event.payload or b""))
            for event in events
            if event.header["ty"] == EventType.AUDIT_MISFIT
        ]


def test_an_intent_that_does_not_fit_is_refused_before_anything_is_done(database: Database):
    strange = replace(used(colour="red"), outcome=Outcome.INTENT)
    with database.work() as work, pytest.raises(EventMisfitError, match=WORDS):
        work.commit(used(), strange)
    assert check_log(database) == 0


def test_what_was_done_is_written_whatever_it_says_and_told_once(database: Database):
    for _ in range(2):
        with database.work() as work:
            receipts = work.commit(used(colour="red"), used(), used(colour="blue"))
        assert len(receipts) == 3
        last = receipts[-1].index
    assert (last, check_log(database)) == (6, 7)
    assert told(database) == [("misfit:KEY.USED", {"about": "KEY.USED", "what": WORDS})]
    with database.reading() as reading:
        assert json.loads(reading.audit.event(last).payload or b"")["colour"] == "blue"
    with database.work() as work:
        work.commit(used(count="1"))
    assert len(told(database)) == 2


def test_of_a_round_of_the_recorder_each_gets_its_own_receipt(database: Database):
    calls = [Record(used(f"key:{n}", colour="red"), {}, None).pack() for n in range(3)]
    answers = Recorder(database).append(calls)
    assert [answer[0] for answer in answers if isinstance(answer, list)] == [0, 1, 2]
    assert (check_log(database), len(told(database))) == (4, 1)
