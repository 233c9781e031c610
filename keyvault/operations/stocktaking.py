"""Counts of the stock by people who are not shown what should be there, and what differed."""

from uuid import UUID, uuid4

from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.errors import NotFoundError, NotPermittedError
from keyvault.operations.steps import STOCK
from keyvault.operations.vault import Vault, permit
from keyvault.store.tokens import StockCount


def counts(vault: Vault, who: Principal) -> list[StockCount]:
    """Every count with its differences, the newest first. Not for who only counts."""
    permit(vault, who, Action.TOKEN_VET)
    with vault.database.reading() as work:
        return work.tokens.stock_counts()


def settle(vault: Vault, who: Principal, count: UUID, finding: str) -> None:
    """Explain a difference: the incident is closed. Who counted does not.

    Raises `NotFoundError`, `ConflictError` where nothing is open.
    """
    role = permit(vault, who, Action.TOKEN_VET).role
    with vault.database.work() as work:
        found = next((one for one in work.tokens.stock_counts() if one.id == count), None)
        if found is None:
            raise NotFoundError(f"there is no count {count}", next_step="keyvault tokens counts")
        if found.counter == who.id:
            raise NotPermittedError("who counted does not explain the difference")
        work.tokens.settle_count(count, who.id, finding, vault.clock())
        told = {"statement": str(count), "finding": finding}
        kind, outcome = EventType.STOCK_SETTLED, Outcome.OK
        work.commit(AuditEvent(kind, outcome, uuid4(), STOCK, who.actor, dict(told), role))
