"""What retention and packs ask of the log, on both databases."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from keyvault.domain.audit import EventType
from keyvault.domain.custody import HoldKind
from keyvault.domain.heads import ordered
from keyvault.domain.retention import HOLDS, LogHold
from keyvault.domain.scopes import Scope
from keyvault.operations.retention import standing
from keyvault.store import Database
from tests.store.events import NOW, SCOPE, used

OTHER = Scope("party-2", "gas-supplier", "99")


def filled(database: Database) -> None:
    with database.work() as work:
        work.commit(used("key:1"), used("key:2"), used("log", kind=EventType.AUDIT_QUERIED))
        work.commit(replace(used("key:3"), scope=OTHER), used("key:1"))


def test_old_events_of_a_class_that_still_say_something_are_found(database: Database) -> None:
    filled(database)
    far = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)
    with database.work() as work:
        kinds = ["KEY.USED"]
        found = list(work.payloads.older(kinds, far, 5))
        assert found[0] == (0, "key:1", "system:dcc-1")
        assert [index for index, *_ in found] == [0, 1, 3, 4]
        assert [index for index, *_ in work.payloads.older(kinds, far, 4)] == [0, 1, 3]
        assert list(work.payloads.older(kinds, 1, 5)) == []
        work.erase([0, 3], NOW)
        work.commit(used("log", kind=EventType.PAYLOAD_PURGED))
    with database.reading() as reading:
        assert [index for index, *_ in reading.payloads.older(kinds, far, 5)] == [1, 4]
        assert reading.audit.event(0).payload is None


def test_heads_count_each_stream_actor_and_scope_and_name_its_last_event(
    database: Database,
) -> None:
    filled(database)
    with database.reading() as reading:
        heads = {head.name: head for head in reading.audit.heads(4)}
        whole = {head.name: head for head in ordered(reading.audit.heads(5))}
        last = json.loads(reading.audit.event(4).leaf)["p"]
    counts = {name: head.count for name, head in heads.items()}
    assert counts == {
        "stream/key:1": 1,
        "stream/key:2": 1,
        "stream/key:3": 1,
        "stream/log": 1,
        "actor/system:dcc-1": 4,
        f"scope/{SCOPE}": 3,
        f"scope/{OTHER}": 1,
    }
    assert (whole["stream/key:1"].count, whole["stream/key:1"].last) == (2, last)


def test_the_events_of_one_scope_are_read_in_order(database: Database) -> None:
    filled(database)
    with database.reading() as reading:
        assert [event.index for event in reading.audit.of_scope(SCOPE, 5)] == [0, 1, 2, 4]
        assert [event.index for event in reading.audit.of_scope(SCOPE, 4)] == [0, 1, 2]
        assert [event.index for event in reading.audit.of_scope(OTHER, 5)] == [3]


def test_a_hold_stands_from_its_event_until_the_one_that_lifts_it(database: Database) -> None:
    holds = [
        LogHold(uuid4(), about, HoldKind.LEGAL, "case 12", NOW, "person:alice")
        for about in ("key:1", "*")
    ]
    with database.work() as work:
        first, *more = (
            replace(used(HOLDS, "person:alice", EventType.AUDIT_HOLD_SET), payload=hold.document())
            for hold in holds
        )
        work.commit(first, *more)
    with database.reading() as reading:
        found = standing(reading)
    assert [one.about for one in found.values()] == ["key:1", "*"]
    assert found[holds[0].id].covers("key:1", "person:bob")
    assert not found[holds[0].id].covers("key:2", "person:bob")
    assert found[holds[1].id].covers("key:2", "person:bob")
    lifted = used(HOLDS, "person:bob", EventType.AUDIT_HOLD_LIFTED, hold=str(holds[1].id))
    with database.work() as work:
        work.commit(lifted)
    with database.reading() as reading:
        assert list(standing(reading)) == [holds[0].id]
