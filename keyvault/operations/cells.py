"""Which slots of devices a key for agreement is for: all messages, or top-ups alone."""

from uuid import UUID, uuid4

from hsm.types import Algorithm, KeyUsage
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.errors import InvalidInputError, KeyStateError
from keyvault.domain.gbcs import CellUsage
from keyvault.domain.keys import Key, KeyState, mechanism_for
from keyvault.operations.vault import Once, Vault, key_stream, permit, recall, remember


def declare(
    vault: Vault,
    who: Principal,
    key_id: UUID,
    usage: CellUsage,
    reason: str,
    once: Once | None = None,
) -> CellUsage:
    """Settle, before its activation and once, which slots of devices a key is for.

    Raises `CellUsageError`, `KeyStateError`, `InvalidInputError`.
    """
    with vault.database.reading() as reading:
        known = reading.keys.get(key_id)
    permitted = permit(vault, who, Action.KEY_CHANGE, known)
    with vault.database.work() as work:
        if recall(work, who, once):
            return work.counters.cell_usage(key_id)
        key = work.keys.get(key_id)
        check_agrees(key)
        if key.state is not KeyState.PRE_ACTIVE:
            raise KeyStateError(
                f"the key is {key.state}, and what it is for is settled",
                next_step="order another key, and declare it before its activation",
            )
        work.counters.declare(key_id, usage)
        remember(work, who, once, {"key": str(key_id)})
        work.commit(_declared(who, permitted.role, key, usage, reason))
    return usage


def cell_usage(vault: Vault, who: Principal, key_id: UUID) -> CellUsage:
    """Which slots of devices a key is for: management unless something else was declared."""
    with vault.database.reading() as reading:
        key, usage = reading.keys.get(key_id), reading.counters.cell_usage(key_id)
    permit(vault, who, Action.KEY_READ, key)
    return usage


def check_agrees(key: Key) -> None:
    """Raise `InvalidInputError` unless GBCS knows keys for agreement of this kind."""
    mechanism_for(key, KeyUsage.AGREE)
    if key.algorithm is not Algorithm.EC_P256:
        raise InvalidInputError("GBCS agrees with P-256 keys alone")


def _declared(who: Principal, role: str, key: Key, usage: CellUsage, reason: str) -> AuditEvent:
    return AuditEvent(
        type=EventType.CELL_USAGE_DECLARED,
        outcome=Outcome.OK,
        operation=uuid4(),
        stream=key_stream(key.id),
        actor=who.actor,
        role=role,
        scope=key.scope,
        payload={"key": str(key.id), "cell_usage": str(usage), "reason": reason},
    )
