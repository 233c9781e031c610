"""Whom the front door turned away: an event, so that nobody can try unseen."""

from uuid import uuid4

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.operations.vault import Vault


def refused(vault: Vault, source: str, reason: str, count: int) -> None:
    """Write down refused attempts of one source. The caller bounds how often this is called."""
    _write(vault, EventType.CONNECTION_REFUSED, source, reason, count)


def limited(vault: Vault, source: str, reason: str, count: int) -> None:
    """Write down calls that were too many. The caller bounds how often this is called."""
    _write(vault, EventType.ACCESS_LIMITED, source, reason, count)


def _write(vault: Vault, kind: EventType, source: str, reason: str, count: int) -> None:
    event = AuditEvent(
        type=kind,
        outcome=Outcome.REFUSED,
        operation=uuid4(),
        stream="log",
        actor="service:api",
        payload={"source": source[:64], "reason": reason[:200], "count": count},
    )
    with vault.database.work() as work:
        work.commit(event)
