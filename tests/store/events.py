"""Events, keys and approvals for the tests of the store, real enough to be hashed."""

from uuid import UUID, uuid4

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.scopes import Scope

SCOPE = Scope("party-1", "supplier", "00-11-22")


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
        payload=payload or {"count": 1, "digest": "00" * 32},
        scope=SCOPE,
    )
