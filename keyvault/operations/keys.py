"""The register of keys, and the two things one custodian alone may do: suspend and declare."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from hsm.errors import DeviceUnavailableError
from hsm.types import Algorithm
from keyvault.domain.access import Action, Principal, readable
from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document
from keyvault.domain.errors import NotPermittedError
from keyvault.domain.keys import Key, KeyState
from keyvault.domain.scopes import Scope
from keyvault.operations.vault import Once, Vault, key_event, key_stream, permit, recall, remember
from keyvault.operations.witnesses import Events, levels
from keyvault.store.unit_of_work import Work


def get(vault: Vault, who: Principal, key_id: UUID) -> Key:
    """Raises `NotFoundError`, also for a key that the caller may not know of."""
    with vault.database.reading() as work:
        key = work.keys.get(key_id)
    permit(vault, who, Action.KEY_READ, key)
    return key


@dataclass(frozen=True, slots=True)
class KeyQuery:
    """Which keys to list. None leaves a field open."""

    scope: Scope | None = None
    state: KeyState | None = None
    algorithm: Algorithm | None = None
    label: str | None = None


def page(
    vault: Vault, who: Principal, query: KeyQuery, after: str | None = None, limit: int = 50
) -> tuple[list[Key], str | None]:
    """List keys, oldest first, and the cursor of the next page: those of the caller's scopes."""
    permit(vault, who, Action.KEY_READ, where=query.scope)
    own = readable(who, Action.KEY_READ, vault.clock())
    if own is not None and query.scope is not None and query.scope not in own:
        raise NotPermittedError("you list the keys of your own scopes only")
    with vault.database.reading() as work:
        return work.keys.page(
            scopes=own if query.scope is None else {query.scope},
            state=query.state,
            algorithm=query.algorithm,
            label=query.label,
            after=after,
            limit=limit,
        )


def history(
    vault: Vault, who: Principal, key_id: UUID, after: str | None = None, limit: int = 50
) -> Events:
    """Return what the log holds of a key, oldest first."""
    get(vault, who, key_id)
    with vault.database.reading() as work:
        found = work.audit.page(stream=key_stream(key_id), after=after, limit=limit)
        return *found, levels(vault, work)


def suspend(
    vault: Vault, who: Principal, key_id: UUID, reason: str, once: Once | None = None
) -> Key:
    """Stop a key at once: the next use is refused, and one under way is not released."""
    return stop(vault, who, key_id, Stop(KeyState.SUSPENDED, reason), once)


@dataclass(frozen=True, slots=True)
class Stop:
    """How one person alone stops a key: suspended, or compromised for ever.

    `note` writes down what else belongs to it, in the same transaction, and says it in the event.
    """

    state: KeyState
    reason: str
    note: Callable[[Work, Key], Document] = lambda _, __: {}


_STOPS = {
    KeyState.SUSPENDED: (Action.KEY_SUSPEND, EventType.KEY_SUSPENDED),
    KeyState.COMPROMISED: (Action.KEY_COMPROMISE, EventType.KEY_COMPROMISE_DECLARED),
}


def stop(vault: Vault, who: Principal, key_id: UUID, how: Stop, once: Once | None = None) -> Key:
    """Stop a key in the register and at the gate. Raises `KeyStateError` where no arrow leads."""
    action, kind = _STOPS[how.state]
    permitted = permit(vault, who, action, _known(vault, key_id))
    with vault.database.work() as work:
        key = work.keys.get(key_id)
        if recall(work, who, once):
            return key
        changed = key.to(how.state, vault.clock())
        work.keys.change(changed)
        states = {"before": str(key.state), "after": str(changed.state)}
        told = {**states, "reason": how.reason, **how.note(work, changed)}
        remember(work, who, once, {"key": str(key_id)})
        work.commit(key_event(kind, who.actor, permitted.role, changed, told))
    with suppress(DeviceUnavailableError):  # a gate that is away learns it from reconciling
        vault.gate.stop(key_id.bytes, str(how.state))
    return changed


def _known(vault: Vault, key_id: UUID) -> Key:
    with vault.database.reading() as work:
        return work.keys.get(key_id)
