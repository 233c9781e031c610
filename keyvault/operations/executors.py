"""Carries out every command, once its approvals have been redeemed.

`check` says early whether the act can be done at all, `act` calls the device behind the gate,
`settle` writes the state that follows, and `reconcile` uses the same pieces after a crash. What is
particular to a command stands in `acts`.
"""

import json
import threading
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from hsm.errors import DeviceUnavailableError, HsmError
from keyvault.domain.approvals import ApprovalRequest, Request, RequestState, check_told
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.commands import (
    AUTHORITY_COMMANDS,
    Command,
    DestroyKey,
    EnrolSystem,
    ErasePayload,
    GenerateKey,
    LiftLogHold,
    NewKey,
    PurgePayloads,
)
from keyvault.domain.errors import KeyStateError, OutcomeUnknownError, VaultError
from keyvault.domain.retention import HOLDS
from keyvault.domain.scopes import Scope
from keyvault.operations.acts import authorities as of_authorities
from keyvault.operations.acts import authority as of_authority
from keyvault.operations.acts import (
    backups,
    evidence,
    handovers,
    making,
    moving,
    retention,
    rotating,
)
from keyvault.operations.acts.base import Act, Acting, Asking
from keyvault.operations.vault import Vault, key_stream, request_stream
from keyvault.store.unit_of_work import Reading, Work
from keyvault.wire import RemoteError

PUSH_PATIENCE = 1.0  # seconds

ACTS: dict[type[Command], Act] = {
    **making.ACTS,
    **handovers.ACTS,
    **backups.ACTS,
    **moving.ACTS,
    **rotating.ACTS,
    **of_authorities.ACTS,
    **of_authority.ACTS,
    **evidence.ACTS,
    **retention.ACTS,
}


def needs_device(command: Command) -> bool:
    return ACTS[type(command)].device


def key_class_of(work: Work, command: Command) -> str:
    """The class whose rule applies: the one asked for, or that of the key named."""
    if isinstance(command, NewKey):
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


def check(asking: Asking, command: Command) -> str:
    """Refuse what could never be done, and return the key class. Raises `VaultError`."""
    ACTS[type(command)].check(asking, command)
    return key_class_of(asking.work, command)


def ordered(request: Request, actor: str, role: str) -> list[AuditEvent]:
    """What an order is in the history of its key, which has no state yet."""
    command = request.command
    if not isinstance(command, NewKey):
        return []
    told: Document = {"key": str(request.id), "command": command.name, "class": command.key_class}
    if isinstance(command, GenerateKey):
        successor_of = str(command.supersedes) if command.supersedes else None
        told |= {"need": command.need, "supersedes": successor_of}
    return [
        AuditEvent(
            type=EventType.KEY_REQUESTED,
            outcome=Outcome.OK,
            operation=request.id,
            stream=key_stream(request.id),
            actor=actor,
            role=role,
            scope=request.scope,
            payload=told,
        )
    ]


def as_told(work: Reading, request_id: UUID) -> ApprovalRequest:
    """Read a request as it was asked for: its row may be altered, its event in the log may not.

    Raises `RequestAlteredError`.
    """
    asked, stream = work.requests.get(request_id), request_stream(request_id)
    found, _ = work.audit.page(type=EventType.APPROVAL_REQUESTED, stream=stream, limit=1)
    payload = found[0].payload if found else None
    check_told(asked.request, json.loads(payload)["request"] if payload else None)
    return asked


def intent(acting: Acting) -> AuditEvent:
    """What is about to be done, with every signature that allows it."""
    return _event(acting, Outcome.INTENT, {})


def act(acting: Acting) -> Document:
    """Let the gate do it. A clean refusal voids the request; a cut-off leaves it executing."""
    asked = acting.asked
    approvals = [approval.document() for approval in asked.approvals]
    try:
        return _executed(acting, approvals)
    except (DeviceUnavailableError, RemoteError) as error:  # a fault there may come after the act
        raise OutcomeUnknownError(
            "the device was cut off; what came of it is not known yet",
            next_step="wait for the device, then: keyvault reconcile",
        ) from error
    except (HsmError, VaultError) as error:
        with acting.vault.database.work() as work:
            void(acting, work, error.code, str(error))
        raise


def _executed(acting: Acting, approvals: list[Document]) -> Document:
    vault, document = acting.vault, acting.asked.request.document
    made = ACTS[type(acting.command)].gate(vault).execute(document, approvals)
    if isinstance(acting.command, DestroyKey) and vault.spare is not None:
        # What was restored goes with the rest; a second token that is away keeps this open.
        made["second"] = vault.spare.execute(document, approvals)["destroyed"]
    return made


def void(
    acting: Acting, work: Work, code: str, reason: str, outcome: Outcome = Outcome.FAIL
) -> None:
    """End a request of which nothing came, or nobody knows what, and commit."""
    work.requests.change(acting.asked.to(RequestState.VOID))
    ACTS[type(acting.command)].lapse(acting, work)
    work.commit(_event(acting, outcome, {"code": code, "reason": reason}), *acting.also)


def concluded(acting: Acting, work: Work, made: Document) -> tuple[Document, list[AuditEvent]]:
    """Write what follows from the gate's act, be it only that something is open now.

    Returns what is recorded and the events, which the caller commits.
    """
    opens = ACTS[type(acting.command)].opens
    if opens is None:
        outcome = settle(acting, work, made)
        return outcome, done(acting, outcome)
    return opens(acting, work, acting.command, made), acting.also


def settle(acting: Acting, work: Work, made: Document) -> Document:
    """Write the state that follows from the act; the caller commits it with `done`.

    Where the key's state no longer allows it, a request that was under way ends as void.
    """
    under_way = needs_device(acting.command)
    try:
        outcome = ACTS[type(acting.command)].settle(acting, work, acting.command, made)
    except KeyStateError as error:
        if under_way:
            void(acting, work, error.code, str(error))
        raise
    if goes_on(outcome):
        return outcome
    finished = acting.asked.to(RequestState.DONE)
    work.requests.change(finished if under_way else replace(finished, version=finished.version - 1))
    return outcome


def goes_on(outcome: Document) -> bool:
    """Whether an act is done in part, and its request still open: a purge, portion by portion."""
    return bool(outcome.get("more"))


def logged(work: Work, asked: ApprovalRequest) -> Document | None:
    """What the log says came of a request; None where nothing did."""
    kind = ACTS[type(asked.request.command)].event
    found, _ = work.audit.page(type=kind, outcome=Outcome.OK, stream=_stream(asked.request))
    for event in found:
        if event.header["op"] == str(asked.request.id) and event.payload is not None:
            payload: Document = json.loads(event.payload)
            return {k: v for k, v in payload.items() if k not in ("request", "approvals")}
    return None


def follow(acting: Acting) -> None:
    """Do what an act leaves to be done once it is committed."""
    ACTS[type(acting.command)].after(acting)


def tell_gate(vault: Vault) -> None:
    """Bring a committed change of authority to the gate, which never forgets what it has seen.

    Until then whoever edits the database could take it back and nobody who starts would know. A
    gate that is away learns it from the clerk.
    """
    pushing = threading.Thread(target=_push, args=(vault,), daemon=True)
    pushing.start()
    pushing.join(PUSH_PATIENCE)  # a gate that hangs must not keep a revocation from its answer


def _push(vault: Vault) -> None:
    with suppress(HsmError, VaultError):
        vault.gate.push_authority()


def done(acting: Acting, outcome: Document) -> list[AuditEvent]:
    """What was done, with what came of it and every signature that allowed it, and what else."""
    return [_event(acting, Outcome.OK, outcome), *acting.also]


def answer(made: Document) -> Document:
    """What the caller gets beside the recorded outcome: a wrapped key is for their eyes alone."""
    return {"blob": b64encode(made["blob"]).decode()} if "blob" in made else {}


def _event(acting: Acting, outcome: Outcome, extra: Document) -> AuditEvent:
    asked, command = acting.asked, acting.command
    signed: Document = {
        "request": asked.request.document,
        "approvals": [approval.document() for approval in asked.approvals],
    }
    in_chain = isinstance(command, AUTHORITY_COMMANDS)  # its record holds what was signed
    return AuditEvent(
        type=ACTS[type(command)].event,
        outcome=outcome,
        operation=asked.request.id,
        stream=_stream(asked.request),
        actor=acting.actor,
        role=acting.role,
        scope=asked.request.scope,
        payload=extra if in_chain else {**signed, **extra},
    )


def _stream(request: Request) -> str:
    if isinstance(request.command, AUTHORITY_COMMANDS):
        return "authority"
    if isinstance(request.command, LiftLogHold):
        return HOLDS
    if isinstance(request.command, ErasePayload | PurgePayloads):
        return "log"
    named = getattr(request.command, "key", None) or getattr(request.command, "backup_key", None)
    return key_stream(named or request.id)
