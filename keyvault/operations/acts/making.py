"""Keys that come into being, and copies that leave: generate, import, export."""

from base64 import b64encode
from datetime import timedelta
from typing import Any

from hsm.types import KeySpec, KeyUsage, WrappedKey
from keyvault.domain.audit import AuditEvent, EventType
from keyvault.domain.canonical import Document
from keyvault.domain.commands import ExportKey, GenerateKey, ImportKey, NewKey
from keyvault.domain.errors import InvalidInputError, KeyStateError
from keyvault.domain.keys import Key, KeyClass, KeyState, Purpose, Residence
from keyvault.operations.acts.base import Act, Acting, Asking
from keyvault.operations.vault import key_event
from keyvault.store.unit_of_work import Work


def _check_generate(asking: Asking, command: GenerateKey) -> None:
    asking.authority.key_class(command.key_class)
    check_scope(asking, command.name)
    if command.supersedes is not None:
        _check_successor(asking, command, asking.work.keys.get(command.supersedes))


def _check_successor(asking: Asking, command: GenerateKey, old: Key) -> None:
    """A key has one successor, for the same scope and use, and none once it is beyond use."""
    if old.scope != asking.scope or old.usage is not command.usage:
        raise InvalidInputError("a successor is for the same scope and use as the key it follows")
    if old.state in (KeyState.PRE_ACTIVE, KeyState.DESTROYED):
        raise KeyStateError(f"a key that is {old.state} has no successor")
    if other := asking.work.keys.successor_of(old.id):
        raise KeyStateError(
            f"key {other} follows it already", next_step="order the successor of that one"
        )


def _check_import(asking: Asking, command: ImportKey) -> None:
    check_scope(asking, command.name)
    key_class = asking.authority.key_class(command.key_class)
    if key_class.residence is not Residence.RESIDENT or command.algorithm.is_pair:
        raise InvalidInputError(
            "only secret keys are imported, and into classes whose keys are resident",
            next_step="order pairs here: a wrapped private key does not name its public key",
        )
    check_kek(asking, asking.work.keys.get(command.kek), Purpose.PROCESS)


def _check_export(asking: Asking, command: ExportKey) -> None:
    check_may_leave(asking.work.keys.get(command.key))
    check_kek(asking, asking.work.keys.get(command.kek), Purpose.PROTECT)


def check_may_leave(key: Key) -> None:
    """Raise unless the class of a key lets it leave the device, and it is there."""
    if not key.extractable or key.residence is not Residence.RESIDENT:
        raise InvalidInputError(
            f"keys of class {key.key_class} never leave the device",
            next_step="only a class that is declared extractable can be exported",
        )
    if key.state is KeyState.DESTROYED:
        raise KeyStateError("the key is destroyed")


def check_kek(asking: Asking, kek: Key, purpose: Purpose) -> None:
    """Raise unless this key may wrap, or unwrap, others now."""
    if kek.usage is not KeyUsage.WRAP or kek.residence is not Residence.RESIDENT:
        raise InvalidInputError("the wrapping key has to be a resident key for wrapping")
    kek.check_use(purpose, asking.now)


def check_scope(asking: Asking, name: str) -> None:
    if asking.scope is None:
        raise InvalidInputError(f"{name} is for one scope")


def add_key(acting: Acting, work: Work, new: NewKey, made: Document) -> Document:
    """Enter a key that was made in the register: from here on it is in somebody's custody."""
    key = _new_key(acting, acting.vault.authority(work).key_class(new.key_class), new, made)
    work.keys.add(key, _wrapped(made.get("wrapped")))
    acting.also.append(_registered(acting, key))
    return {
        "key": str(key.id),
        "state": str(key.state),
        "public_key": b64encode(key.public_key).decode(),
        "check_value": key.check_value,
        "attributes": made["attributes"],
    }


def _new_key(acting: Acting, key_class: KeyClass, new: NewKey, made: Document) -> Key:
    request, now = acting.asked.request, acting.vault.clock()
    if request.scope is None:
        raise InvalidInputError("a key belongs to a scope")
    return Key(
        id=request.id,
        scope=request.scope,
        label=new.label,
        algorithm=new.algorithm,
        usage=new.usage,
        key_class=new.key_class,
        **_classified(key_class),
        state=KeyState.PRE_ACTIVE,
        version=1,
        created_at=now,
        protect_until=now + timedelta(days=new.protect_days),
        process_until=now + timedelta(days=new.process_days),
        public_key=made["public_key"],
        check_value=made["check_value"],
        owner=request.requester,
        supersedes=new.supersedes if isinstance(new, GenerateKey) else None,
    )


def _classified(key_class: KeyClass) -> dict[str, Any]:
    """What follows from the class for as long as the key lives."""
    names = ("residence", "verify", "extractable")
    return {name: getattr(key_class, name) for name in names}


def _registered(acting: Acting, key: Key) -> AuditEvent:
    told: Document = {
        "owner": key.owner,
        "class": key.key_class,
        "residence": str(key.residence),
        "token": acting.vault.settings.keys.uri,
        "terms": key.terms(),  # which the register is held against
    }
    return key_event(EventType.KEY_REGISTERED, acting.actor, acting.role, key, told)


def _wrapped(document: Document | None) -> WrappedKey | None:
    if document is None:
        return None
    return WrappedKey(**{**document, "spec": KeySpec(**document["spec"])})


def _exported(_: Acting, __: Work, command: ExportKey, made: Document) -> Document:
    return {"key": str(command.key), "blob_size": len(made["blob"])}


ACTS = {
    GenerateKey: Act(EventType.KEY_GENERATED, _check_generate, add_key),
    ImportKey: Act(EventType.KEY_IMPORTED, _check_import, add_key),
    ExportKey: Act(EventType.KEY_EXPORTED, _check_export, _exported),
}
