"""Custody of keys: the steps that people take with them, and what holds a key back from its end."""

from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document
from keyvault.domain.certificates import GOOD
from keyvault.domain.custody import HoldKind, KeyHold, KeyStep, Step, check_step
from keyvault.domain.errors import CertificateStateError, KeyStateError
from keyvault.domain.keys import Key, KeyState
from keyvault.domain.times import text_of
from keyvault.operations import keys
from keyvault.operations.dependants import Dependants, dependants_of
from keyvault.operations.vault import Once, Vault, key_event, permit, recall, remember
from keyvault.store.unit_of_work import Reading

_EVENTS = {
    Step.LABELLED: EventType.KEY_LABELLED,
    Step.DISTRIBUTED: EventType.KEY_DISTRIBUTED,
    Step.INSTALLED: EventType.KEY_INSTALLED,
    Step.RENEWED: EventType.KEY_RENEWED,
}
_BEFORE = {  # which step has to come first, and what to do about it
    Step.DISTRIBUTED: (Step.LABELLED, "label it first: keyvault keys label"),
    Step.INSTALLED: (Step.DISTRIBUTED, "record how it got there: keyvault keys distributed"),
}


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that somebody says was taken. `about`: see `KeyStep`."""

    step: Step
    about: str
    details: Document


def record(
    vault: Vault, who: Principal, key_id: UUID, taken: Taken, once: Once | None = None
) -> KeyStep:
    """Write down a step in a key's life. Raises `KeyStateError` where it is not its turn."""
    permitted = permit(vault, who, Action.KEY_RECORD, keys.get(vault, who, key_id))
    with vault.database.work() as work:
        if earlier := recall(work, who, once):
            return work.custody.get(key_id, earlier["number"])
        key = work.keys.get(key_id)
        now = vault.clock()
        check_step(taken.step, key, now)
        details = {**taken.details, **_fits(work, key, taken)}
        number = work.custody.next_number(key_id)
        step = KeyStep(key_id, number, taken.step, now, who.actor, taken.about, details)
        work.custody.add(step)
        remember(work, who, once, {"number": number})
        kind, told = _EVENTS[taken.step], {"number": number, **details}
        work.commit(key_event(kind, who.actor, permitted.role, key, told))
        return step


def _fits(work: Reading, key: Key, taken: Taken) -> Document:
    """Raise unless what has to come first has come; return what is known beside what was said."""
    if taken.step is Step.RENEWED:
        return _renewal(work, key, taken.about)
    if taken.step in _BEFORE:
        before, remedy = _BEFORE[taken.step]
        about = taken.about if before is Step.DISTRIBUTED else None
        if not work.custody.taken(key.id, before, about):
            where = "" if about is None else f" to {about}"
            raise KeyStateError(f"the key was never {before}{where}", next_step=remedy)
    return {}


def _renewal(work: Reading, key: Key, certificate: str) -> Document:
    """A key is renewed by one more certificate of its own, and only once by each."""
    own = work.certificates.of_key(key.id)
    place = next((at for at, one in enumerate(own) if str(one.id) == certificate), -1)
    if place < 0 or own[place].state not in GOOD:
        raise CertificateStateError(
            f"{certificate} is no certificate of this key that was accepted",
            next_step=f"see keyvault certificates list --key {key.id}",
        )
    if not any(one.not_after for one in own[:place]):
        raise KeyStateError("this is the key's first certificate: it renews nothing")
    if work.custody.taken(key.id, Step.RENEWED, certificate):
        raise KeyStateError("this certificate renewed the key already")
    new = own[place]
    ends = text_of(new.not_after) if new.not_after else None
    return {"serial": new.serial, "not_after": ends}


def steps(
    vault: Vault, who: Principal, key_id: UUID, after: str | None = None, limit: int = 50
) -> tuple[list[KeyStep], str | None]:
    """List the steps of a key, oldest first, and the cursor of the next page."""
    keys.get(vault, who, key_id)
    with vault.database.reading() as work:
        return work.custody.page(key_id, after, limit)


# What holds a key back ---------------------------------------------------------------------------


def hold(
    vault: Vault,
    who: Principal,
    key_id: UUID,
    kind: HoldKind,
    reason: str,
    once: Once | None = None,
) -> KeyHold:
    """Keep a key from being destroyed until several people lift it. It may be used all the same."""
    permitted = permit(vault, who, Action.KEY_HOLD, keys.get(vault, who, key_id))
    with vault.database.work() as work:
        if earlier := recall(work, who, once):
            return work.custody.get_hold(key_id, UUID(earlier["hold"]))
        key = work.keys.get(key_id)
        if key.state is KeyState.DESTROYED:
            raise KeyStateError("the key is destroyed: there is nothing left to hold")
        made = KeyHold(uuid4(), key_id, kind, reason, vault.clock(), who.actor)
        work.custody.hold(made)
        work.keys.change(replace(key, version=key.version + 1))
        remember(work, who, once, {"hold": str(made.id)})
        payload: Document = {"hold": str(made.id), "kind": str(kind)}
        payload["reason"] = reason
        work.commit(key_event(EventType.KEY_HOLD_SET, who.actor, permitted.role, key, payload))
        return made


def dependants(vault: Vault, who: Principal, key_id: UUID) -> Dependants:
    """Return what would miss a key, and what forbids to destroy it."""
    key = keys.get(vault, who, key_id)
    with vault.database.reading() as work:
        return dependants_of(work, vault.authority(work), key, vault.clock())
