"""Steps in the life of a key that is there: its state, and what a guarded one may do."""

from dataclasses import replace
from functools import partial

from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document
from keyvault.domain.commands import (
    ActivateKey,
    AllowUse,
    Command,
    DeactivateKey,
    DestroyKey,
    LiftHold,
    ResumeKey,
)
from keyvault.domain.errors import InvalidInputError, KeyStateError
from keyvault.domain.keys import MOVES, Key, KeyState
from keyvault.operations import certificates, destruction
from keyvault.operations.acts.base import Act, Acting, Asking
from keyvault.operations.dependants import check_free
from keyvault.operations.vault import key_event
from keyvault.store.unit_of_work import Work

Move = ActivateKey | ResumeKey | DeactivateKey | DestroyKey
_TARGETS: dict[type[Command], tuple[KeyState, EventType]] = {
    ActivateKey: (KeyState.ACTIVE, EventType.KEY_ACTIVATED),
    ResumeKey: (KeyState.ACTIVE, EventType.KEY_RESUMED),
    DeactivateKey: (KeyState.DEACTIVATED, EventType.KEY_DEACTIVATED),
    DestroyKey: (KeyState.DESTROYED, EventType.KEY_DESTROYED),
}
_FROM = {ActivateKey: KeyState.PRE_ACTIVE, ResumeKey: KeyState.SUSPENDED}


def _check(state: KeyState, asking: Asking, command: Move) -> None:
    key = asking.work.keys.get(command.key)
    if state not in MOVES[key.state] or key.state is not _FROM.get(type(command), key.state):
        raise KeyStateError(
            f"{command.name} does not apply to a key that is {key.state}",
            next_step=f"see what it is and was: keyvault keys life {key.id}",
        )
    if isinstance(command, ActivateKey):
        certificates.check_activation(asking.work, key.id)
    if isinstance(command, DestroyKey):
        check_free(asking.work, asking.authority, key, asking.now)


def _settle(state: KeyState, acting: Acting, work: Work, command: Move, made: Document) -> Document:
    before = work.keys.get(command.key)
    key = before.to(state, acting.vault.clock())
    if isinstance(command, DestroyKey):
        counts = made.get("destroyed", 0), made.get("second")
        copies = destruction.copies_of(acting.vault, work, before, *counts)
        work.keys.change(key)
        return {**_moved(key), "copies": copies}
    work.keys.change(key)
    if isinstance(command, ActivateKey):
        certificates.put_in_use(work, key.id)
        _supersede(acting, work, key)
    return _moved(key)


def _moved(key: Key) -> Document:
    return {"key": str(key.id), "state": str(key.state), "version": key.version}


def _certify(acting: Acting) -> None:
    if isinstance(acting.command, DestroyKey):
        destruction.follow(acting.vault, acting.actor, acting.role, acting.command.key)


def _supersede(acting: Acting, work: Work, successor: Key) -> None:
    """From here on the new key protects; the one before it processes what it protected."""
    if successor.supersedes is None:
        return
    old = work.keys.get(successor.supersedes)
    if KeyState.DEACTIVATED in MOVES[old.state]:
        old = old.to(KeyState.DEACTIVATED, acting.vault.clock())
        work.keys.change(old)
    told: Document = {
        "state": str(old.state),
        "successor": str(successor.id),
        "request": str(acting.id),
    }
    made = key_event(EventType.KEY_SUPERSEDED, acting.actor, acting.role, old, told)
    acting.also.append(made)


def _check_guarded(asking: Asking, command: AllowUse) -> None:
    key = asking.work.keys.get(command.key)
    if not asking.authority.key_class(key.key_class).guarded:
        raise InvalidInputError(f"keys of class {key.key_class} are used without asking")


def _allowed(_: Acting, __: Work, command: AllowUse, ___: Document) -> Document:
    return {"key": str(command.key), "uses": command.uses}


def _check_hold(asking: Asking, command: LiftHold) -> None:
    hold = asking.work.custody.get_hold(command.key, command.hold)
    if hold.lifted_at is not None:
        raise KeyStateError("this hold is lifted already")


def _lifted(acting: Acting, work: Work, command: LiftHold, _: Document) -> Document:
    work.custody.lift(command.hold, acting.vault.clock(), acting.id)
    return {"key": str(command.key), "hold": str(command.hold)}


ACTS = {
    **{
        command: Act(event, partial(_check, state), partial(_settle, state))
        for command, (state, event) in _TARGETS.items()
    },
    AllowUse: Act(EventType.KEY_USE_ALLOWED, _check_guarded, _allowed),
    LiftHold: Act(EventType.KEY_HOLD_LIFTED, _check_hold, _lifted, device=False),
}
ACTS[DestroyKey] = replace(ACTS[DestroyKey], after=_certify)
