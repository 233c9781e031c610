"""Events, keys and approvals for the tests of the store, real enough to be hashed."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from hsm.types import Algorithm, KeyUsage, VerifyPolicy
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.keys import Key, KeyState, Residence
from keyvault.domain.schemas import SCHEMAS
from keyvault.domain.scopes import Scope
from keyvault.domain.tree import root_of, tree_at
from keyvault.store import Database

SCOPE = Scope("party-1", "supplier", "00-11-22")
NOW = datetime(2026, 11, 22, 15, 0, 0, 123456, tzinfo=UTC)


def used(
    stream: str = "key:1",
    actor: str = "system:dcc-1",
    kind: EventType = EventType.KEY_USED,
    operation: UUID | None = None,
    **payload: object,
) -> AuditEvent:
    return AuditEvent(
        type=kind,
        outcome=Outcome.OK,
        operation=operation or uuid4(),
        stream=stream,
        actor=actor,
        payload={**fitting(kind), **payload},
        scope=SCOPE,
    )


def fitting(kind: EventType) -> dict[str, object]:
    """The least that an event of this type has to say."""
    schema = SCHEMAS[kind]
    return {name: _VALUES[min(schema.fields[name])] for name in schema.needed}


_VALUES = {"text": "x", "number": 1, "list": [], "object": {}, "bool": True, "null": None}


def check_log(database: Database) -> int:
    """Recompute the whole log from its stored bytes; return how many events it has.

    Contiguous places, gapless counters, one root by three ways, times in order.
    """
    with database.reading() as reading:
        head, claimed = reading.audit.head(), reading.audit.head_root()
        events = list(reading.audit.events(0, head.size + 1))
        rebuilt = tree_at(reading.audit.hashes(), head.size)
    assert [event.index for event in events] == list(range(head.size))
    hashes = [hashlib.sha256(b"\x00" + event.leaf).digest() for event in events]
    assert hashes == [event.leaf_hash for event in events]
    root = root_of(hashes)
    assert claimed == (head.size, root)
    assert (head.root, rebuilt) == (root, head)
    counters: dict[tuple[str, str], int] = {}
    for event in events:
        for name, number in (("st", "ks"), ("ac", "as"), ("n", "ns")):
            whose = name, event.header[name]
            assert event.header[number] == counters.get(whose, 0)
            counters[whose] = event.header[number] + 1
    assert len({event.header["ev"] for event in events}) == head.size
    return head.size


def new_key(**changes: Any) -> Key:
    key = Key(
        id=uuid4(),
        scope=SCOPE,
        label="meter signing",
        algorithm=Algorithm.EC_P256,
        usage=KeyUsage.SIGN,
        key_class="operational",
        residence=Residence.RESIDENT,
        verify=VerifyPolicy.ALWAYS,
        extractable=False,
        state=KeyState.PRE_ACTIVE,
        version=1,
        created_at=NOW,
        protect_until=NOW + timedelta(days=365),
        process_until=NOW + timedelta(days=730),
        public_key=b"\x30\x59",
        check_value="",
    )
    return replace(key, **changes)


def bumped(key: Key) -> Key:
    """The next version of a key, for writers that only want to change something."""
    return replace(key, version=key.version + 1)
