"""What carries out each command, once its approvals have been redeemed.

`check` says early whether the act can be done at all, `act` calls the device behind the gate,
`settle` writes the state that follows, and `reconcile` uses the same pieces after a crash.
"""

import json
from base64 import b64encode
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from hsm.errors import DeviceUnavailableError, HsmError
from hsm.types import KeySpec, KeyUsage, WrappedKey
from keyvault import signatures
from keyvault.domain.access import SYSTEM_ACTIONS
from keyvault.domain.approvals import ApprovalRequest, Request, RequestState
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.chain import Record, extend
from keyvault.domain.changes import applied
from keyvault.domain.commands import (
    AUTHORITY_COMMANDS,
    KEY_COMMANDS,
    ActivateKey,
    AllowUse,
    Command,
    DeactivateKey,
    DestroyKey,
    EnrolCredential,
    EnrolSystem,
    ExportKey,
    GenerateKey,
    ImportKey,
    RegisterPerson,
    ResumeKey,
    RotateSystem,
)
from keyvault.domain.errors import (
    ConflictError,
    InvalidInputError,
    KeyStateError,
    OutcomeUnknownError,
    VaultError,
)
from keyvault.domain.keys import MOVES, Key, KeyClass, KeyState, Purpose, Residence
from keyvault.domain.linting import lint
from keyvault.domain.people import thumbprint
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of
from keyvault.operations import certificates
from keyvault.operations.vault import Vault, key_stream
from keyvault.store.unit_of_work import Reading, Work
from keyvault.wire import RemoteError

_TARGETS: dict[type[Command], tuple[KeyState, EventType]] = {
    ActivateKey: (KeyState.ACTIVE, EventType.KEY_ACTIVATED),
    ResumeKey: (KeyState.ACTIVE, EventType.KEY_RESUMED),
    DeactivateKey: (KeyState.DEACTIVATED, EventType.KEY_DEACTIVATED),
    DestroyKey: (KeyState.DESTROYED, EventType.KEY_DESTROYED),
}
_FROM = {ActivateKey: KeyState.PRE_ACTIVE, ResumeKey: KeyState.SUSPENDED}
_EVENTS: dict[type[Command], EventType] = {
    GenerateKey: EventType.KEY_GENERATED,
    ImportKey: EventType.KEY_IMPORTED,
    ExportKey: EventType.KEY_EXPORTED,
    AllowUse: EventType.KEY_USE_ALLOWED,
    **{command: event for command, (_, event) in _TARGETS.items()},
    **dict.fromkeys(AUTHORITY_COMMANDS, EventType.AUTHORITY_CHANGED),
}


@dataclass(frozen=True, slots=True)
class Acting:
    """A request under way, and for whom its events speak."""

    vault: Vault
    actor: str
    role: str
    asked: ApprovalRequest  # in state executing

    @property
    def command(self) -> Command:
        return self.asked.request.command


def needs_device(command: Command) -> bool:
    return isinstance(command, KEY_COMMANDS)


def key_class_of(work: Work, command: Command) -> str:
    """The class whose rule applies: the one asked for, or that of the key named."""
    if isinstance(command, GenerateKey | ImportKey):
        return command.key_class
    key_id: UUID | None = getattr(command, "key", None)
    return work.keys.get(key_id).key_class if key_id else ""


def scope_of(
    work: Reading, authority: Authority, command: Command, asked: Scope | None
) -> Scope | None:
    """A key's or system's own scope where one is named, whatever the caller says."""
    if key_id := getattr(command, "key", None):
        return work.keys.get(key_id).scope
    if isinstance(command, EnrolSystem):
        return asked
    if system := getattr(command, "system", None):
        return authority.system(system).scope
    return asked


def check(
    work: Work, authority: Authority, command: Command, scope: Scope | None, now: datetime
) -> str:
    """Refuse what could never be done, and return the key class. Raises `VaultError`."""
    if scope is None and isinstance(command, GenerateKey | ImportKey | EnrolSystem):
        raise InvalidInputError(f"{command.name} is for one scope")
    if isinstance(command, AUTHORITY_COMMANDS):
        _check_authority(authority, command, scope, now)
    elif isinstance(command, GenerateKey):
        authority.key_class(command.key_class)
    elif isinstance(command, ImportKey):
        _check_import(authority.key_class(command.key_class), command)
        _check_kek(work.keys.get(command.kek), Purpose.PROCESS, now)
    elif isinstance(command, AllowUse):
        _check_guarded(authority, work.keys.get(command.key))
    elif isinstance(command, ExportKey):
        _check_export(work.keys.get(command.key))
        _check_kek(work.keys.get(command.kek), Purpose.PROTECT, now)
    else:
        _check_move(work, command)
    return key_class_of(work, command)


def _check_authority(
    authority: Authority, command: Command, scope: Scope | None, now: datetime
) -> None:
    """Whether the record would stand: what it changes is tried out, without its signatures."""
    person: str = getattr(command, "person", "")
    if isinstance(command, RegisterPerson):
        if person in authority.people:
            raise ConflictError(f"a person {person} is registered already")
    elif person:
        authority.person(person)
    if isinstance(command, RegisterPerson | EnrolCredential):
        signatures.check_person_key(command.credential.spki)
    if isinstance(command, EnrolSystem | RotateSystem):
        _check_system(authority, command)
    changed = applied(authority, command, scope, now, signatures.spki_of_certificate)
    lint(changed, command, before=authority)


def _check_move(work: Work, command: Command) -> None:
    state, _ = _TARGETS[type(command)]
    key = work.keys.get(command.key)  # type: ignore[attr-defined]  # every one of _TARGETS has it
    if state not in MOVES[key.state] or key.state is not _FROM.get(type(command), key.state):
        raise KeyStateError(f"{command.name} does not apply to a key that is {key.state}")
    if isinstance(command, ActivateKey):
        certificates.check_activation(work, key.id)


def _check_kek(kek: Key, purpose: Purpose, now: datetime) -> None:
    if kek.usage is not KeyUsage.WRAP or kek.residence is not Residence.RESIDENT:
        raise InvalidInputError("the wrapping key has to be a resident key for wrapping")
    kek.check_use(purpose, now)


def _check_import(key_class: KeyClass, command: ImportKey) -> None:
    if key_class.residence is not Residence.RESIDENT or command.algorithm.is_pair:
        raise InvalidInputError(
            "only secret keys are imported, and into classes whose keys are resident",
            next_step="order pairs here: a wrapped private key does not name its public key",
        )


def _check_guarded(authority: Authority, key: Key) -> None:
    if not authority.key_class(key.key_class).guarded:
        raise InvalidInputError(f"keys of class {key.key_class} are used without asking")


def _check_export(key: Key) -> None:
    if not key.extractable or key.residence is not Residence.RESIDENT:
        raise InvalidInputError(
            f"keys of class {key.key_class} never leave the device",
            next_step="only a class that is declared extractable can be exported",
        )
    if key.state is KeyState.DESTROYED:
        raise KeyStateError("the key is destroyed")


def _check_system(authority: Authority, command: EnrolSystem | RotateSystem) -> None:
    if isinstance(command, EnrolSystem):
        if command.system in authority.systems:
            raise ConflictError(f"a system {command.system} is enrolled already")
        unknown = set(command.actions) - {str(action) for action in SYSTEM_ACTIONS}
        if unknown:
            raise InvalidInputError(
                f"a system cannot be allowed: {', '.join(sorted(unknown))}",
                next_step=f"choose from: {', '.join(sorted(SYSTEM_ACTIONS))}",
            )
    signatures.check_issued(command.certificate, command.issuer)
    if authority.knows(thumbprint(signatures.spki_of_certificate(command.certificate))):
        raise ConflictError("this key is enrolled already", next_step="make a new key")


def intent(acting: Acting) -> AuditEvent:
    """What is about to be done, with every signature that allows it."""
    return _event(acting, Outcome.INTENT, {})


def act(acting: Acting) -> Document:
    """Let the gate do it. A clean refusal voids the request; a cut-off leaves it executing."""
    asked = acting.asked
    approvals = [approval.document() for approval in asked.approvals]
    try:
        return acting.vault.gate.execute(asked.request.document, approvals)
    except (DeviceUnavailableError, RemoteError) as error:  # a fault there may come after the act
        raise OutcomeUnknownError(
            "the device was cut off; what came of it is not known yet",
            next_step="wait for the device, then: keyvault reconcile",
        ) from error
    except (HsmError, VaultError) as error:
        with acting.vault.database.work() as work:
            void(acting, work, error.code, str(error))
        raise


def void(
    acting: Acting, work: Work, code: str, reason: str, outcome: Outcome = Outcome.FAIL
) -> None:
    """End a request of which nothing came, or nobody knows what, and commit."""
    work.requests.change(acting.asked.to(RequestState.VOID))
    work.commit(_event(acting, outcome, {"code": code, "reason": reason}))


def settle(acting: Acting, work: Work, made: Document) -> Document:
    """Write the state that follows from the act; the caller commits it with `done`.

    Where the key's state no longer allows it, a request that was under way ends as void.
    """
    under_way = needs_device(acting.command)
    try:
        outcome = _written(acting, work, made)
    except KeyStateError as error:
        if under_way:
            void(acting, work, error.code, str(error))
        raise
    finished = acting.asked.to(RequestState.DONE)
    work.requests.change(finished if under_way else replace(finished, version=finished.version - 1))
    return outcome


def _written(acting: Acting, work: Work, made: Document) -> Document:
    match acting.command:
        case GenerateKey() | ImportKey() as new:
            return _add_key(acting, work, new, made)
        case ExportKey(key=key_id):
            return {"key": str(key_id), "blob_size": len(made["blob"])}
        case AllowUse(key=key_id, uses=uses):
            return {"key": str(key_id), "uses": uses}
        case ActivateKey() | ResumeKey() | DeactivateKey() | DestroyKey() as change:
            return _move_key(acting, work, change.key)
        case _:
            return _add_record(acting, work)


def _add_key(acting: Acting, work: Work, new: GenerateKey | ImportKey, made: Document) -> Document:
    key = _new_key(acting, acting.vault.authority(work).key_class(new.key_class), new, made)
    work.keys.add(key, _wrapped(made.get("wrapped")))
    return {
        "key": str(key.id),
        "state": str(key.state),
        "public_key": b64encode(key.public_key).decode(),
        "check_value": key.check_value,
        "attributes": made["attributes"],
    }


def _new_key(
    acting: Acting, key_class: KeyClass, new: GenerateKey | ImportKey, made: Document
) -> Key:
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
        residence=key_class.residence,
        verify=key_class.verify,
        extractable=key_class.extractable,
        state=KeyState.PRE_ACTIVE,
        version=1,
        created_at=now,
        protect_until=now + timedelta(days=new.protect_days),
        process_until=now + timedelta(days=new.process_days),
        public_key=made["public_key"],
        check_value=made["check_value"],
    )


def _wrapped(document: Document | None) -> WrappedKey | None:
    if document is None:
        return None
    return WrappedKey(**{**document, "spec": KeySpec(**document["spec"])})


def _move_key(acting: Acting, work: Work, key_id: UUID) -> Document:
    state, _ = _TARGETS[type(acting.command)]
    key = work.keys.get(key_id).to(state, acting.vault.clock())
    work.keys.change(key)
    if isinstance(acting.command, ActivateKey):
        certificates.put_in_use(work, key.id)
    return {"key": str(key.id), "state": str(key.state), "version": key.version}


def _add_record(acting: Acting, work: Work) -> Document:
    authority = acting.vault.authority(work)
    asked = acting.asked
    record = Record(
        authority.size,
        authority.head,
        asked.request.document,
        asked.approvals,
        text_of(acting.vault.clock()),
    )
    extend(authority, record, signatures.verify, signatures.spki_of_certificate)
    work.authority.add(record)
    return {"record": record.document(), "hash": record.hash}


def logged(work: Work, asked: ApprovalRequest) -> Document | None:
    """What the log says came of a request; None where nothing did."""
    kind = _EVENTS[type(asked.request.command)]
    found, _ = work.audit.page(type=kind, outcome=Outcome.OK, stream=_stream(asked.request))
    for event in found:
        if event.header["op"] == str(asked.request.id) and event.payload is not None:
            payload: Document = json.loads(event.payload)
            return {k: v for k, v in payload.items() if k not in ("request", "approvals")}
    return None


def done(acting: Acting, outcome: Document) -> AuditEvent:
    """What was done, with what came of it and every signature that allowed it."""
    return _event(acting, Outcome.OK, outcome)


def answer(made: Document) -> Document:
    """What the caller gets beside the recorded outcome: a wrapped key is for their eyes alone."""
    return {"blob": b64encode(made["blob"]).decode()} if "blob" in made else {}


def _event(acting: Acting, outcome: Outcome, extra: Document) -> AuditEvent:
    asked, command = acting.asked, acting.command
    signed: Document = {
        "request": asked.request.document,
        "approvals": [approval.document() for approval in asked.approvals],
    }
    of_authority = isinstance(command, AUTHORITY_COMMANDS)  # its record holds what was signed
    return AuditEvent(
        type=_EVENTS[type(command)],
        outcome=outcome,
        operation=asked.request.id,
        stream=_stream(asked.request),
        actor=acting.actor,
        role=acting.role,
        scope=asked.request.scope,
        payload=extra if of_authority else {**signed, **extra},
    )


def _stream(request: Request) -> str:
    if isinstance(request.command, AUTHORITY_COMMANDS):
        return "authority"
    return key_stream(getattr(request.command, "key", request.id))
