"""Whether every rule can still be met: shown, measured, and an event when that changes."""

import json
from collections.abc import Iterator
from uuid import uuid4

from keyvault.domain import quorums
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.quorums import Level, Quorum
from keyvault.operations.vault import Vault, permit
from keyvault.store.unit_of_work import Reading

ACTOR = "service:api"


def health(vault: Vault, who: Principal) -> tuple[Quorum, ...]:
    """Say for every rule who can sign now, in 30 and in 90 days, and how much room that leaves."""
    permit(vault, who, Action.PEOPLE_READ)
    with vault.database.reading() as work:
        return current(vault, work)


def current(vault: Vault, work: Reading) -> tuple[Quorum, ...]:
    return quorums.health(vault.authority(work), vault.clock())


def remark(vault: Vault) -> str:
    """What an operator has to know. Keys go on signing, so this never makes the service unready."""
    with vault.database.reading() as work:
        found = current(vault, work)
    return "; ".join(quorum.text for quorum in found if quorum.level is not Level.GOOD)


def sweep(vault: Vault) -> int:
    """Write down which rules have come closer to breaking, or further from it; return how many."""
    with vault.database.reading() as work:
        if not list(_changes(work, current(vault, work))):
            return 0
    with vault.database.work() as work:
        events = list(_changes(work, current(vault, work)))  # another process may have been first
        if events:
            work.commit(events[0], *events[1:])
    return len(events)


def _changes(work: Reading, found: tuple[Quorum, ...]) -> Iterator[AuditEvent]:
    for quorum in found:
        stream = f"rule:{quorum.rule.id}"
        newest = work.audit.newest_of(stream)
        before = _level(newest.payload) if newest else str(Level.GOOD)
        if before != quorum.level:
            yield _event(stream, quorum)


def _level(payload: bytes | None) -> str:
    return str(json.loads(payload)["level"]) if payload else ""  # erased: say it again


def _event(stream: str, quorum: Quorum) -> AuditEvent:
    good = quorum.level is Level.GOOD
    payload: Document = {
        "level": str(quorum.level),
        "text": quorum.text,
        "able": list(quorum.outlooks[0].able),
        "needed": quorum.needed,
        "margins": [outlook.margin for outlook in quorum.outlooks],
    }
    return AuditEvent(
        type=EventType.QUORUM_RECOVERED if good else EventType.QUORUM_AT_RISK,
        outcome=Outcome.OK if good else Outcome.FAIL,
        operation=uuid4(),
        stream=stream,
        actor=ACTOR,
        payload=payload,
    )
