"""Keys that people carry in and out: what opens a handover, and what follows from its end."""

from base64 import b64encode
from dataclasses import replace

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.commands import (
    ExportComponents,
    ExportEnvelope,
    ImportComponents,
    ImportEnvelope,
)
from keyvault.domain.commands.handovers import AES
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.handovers import Handover, HandoverState, digest, statement_of
from keyvault.domain.keys import Residence
from keyvault.domain.people import Role
from keyvault.domain.scopes import Scope
from keyvault.domain.times import time_of
from keyvault.operations.acts.base import Act, Acting, Asking
from keyvault.operations.acts.making import add_key, check_may_leave, check_scope
from keyvault.operations.vault import key_stream
from keyvault.store.unit_of_work import Work

Command = ImportComponents | ImportEnvelope | ExportComponents


def _check_import(asking: Asking, command: ImportComponents | ImportEnvelope) -> None:
    check_scope(asking, command.name)
    if asking.authority.key_class(command.key_class).residence is not Residence.RESIDENT:
        raise InvalidInputError("keys are brought into classes alone whose keys are resident")
    _check_custodians(asking, command)


def _check_components(asking: Asking, command: ExportComponents) -> None:
    key = asking.work.keys.get(command.key)
    check_may_leave(key)
    if key.algorithm not in AES:
        raise InvalidInputError("only AES keys are taken apart into components")
    _check_custodians(asking, command)


def _check_envelope(asking: Asking, command: ExportEnvelope) -> None:
    check_may_leave(asking.work.keys.get(command.key))


def _check_custodians(asking: Asking, command: Command) -> None:
    for name in command.custodians:
        person = asking.authority.person(name)
        if Role.KEY_CUSTODIAN not in person.roles:
            raise InvalidInputError(
                f"{person.name} is no key custodian", next_step="name people who hold that role"
            )


def _open(acting: Acting, work: Work, command: Command, made: Document) -> Document:
    """Enter a handover that the gate has opened. Its request stays under way."""
    opened = Handover(
        id=acting.id,
        command=command.name,
        scope=_scope(acting),
        state=HandoverState.OPEN,
        opened_at=time_of(statement_of(made["statement"])["opened_at"]),
        until=time_of(made["until"]),
        statement=made["statement"],
        signature=made["signature"],
    )
    work.handovers.add(opened)
    told: Document = {
        "command": command.name,
        "custodians": list(command.custodians),
        "until": made["until"],
        "statement": b64encode(opened.statement).decode(),
        "signature": b64encode(opened.signature).decode(),
    }
    acting.also.append(handover_event(acting, EventType.HANDOVER_OPENED, told))
    return {"handover": str(acting.id), "until": made["until"]}


def _scope(acting: Acting) -> Scope:
    scope = acting.asked.request.scope
    if scope is None:
        raise InvalidInputError("a key belongs to a scope")
    return scope


def handover_event(
    acting: Acting, kind: EventType, told: Document, outcome: Outcome = Outcome.OK
) -> AuditEvent:
    """Write down what happened in a handover, in the stream of its key."""
    request = acting.asked.request
    key = getattr(request.command, "key", request.id)
    return AuditEvent(
        type=kind,
        outcome=outcome,
        operation=request.id,
        stream=key_stream(key),
        actor=acting.actor,
        role=acting.role,
        scope=request.scope,
        payload={"request": str(request.id), **told},
    )


def _made(
    acting: Acting, work: Work, command: ImportComponents | ImportEnvelope, made: Document
) -> Document:
    outcome = add_key(acting, work, command, made)
    return {**outcome, **_ended(acting, work, made)}


def _left(acting: Acting, work: Work, command: ExportComponents, made: Document) -> Document:
    told = {"key": str(command.key), "components": len(command.custodians)}
    return {**told, **_ended(acting, work, made)}


def _ended(acting: Acting, work: Work, made: Document) -> Document:
    """Close a handover that people have brought to its end. The gate's transcript says how."""
    transcript = made.get("transcript")
    work.handovers.end(
        replace(
            work.handovers.get(acting.id),
            state=HandoverState.DONE,
            transcript=transcript,
            transcript_signature=made.get("transcript_signature"),
        )
    )
    told: Document = {"handover": str(acting.id)}
    if transcript is not None:
        told |= {"check_values": statement_of(transcript)["check_values"]}
        told |= {"combined": made.get("combined", "")}
        told |= {"transcript_sha256": digest(transcript)}
    return told


def _lapse(acting: Acting, work: Work) -> None:
    """Its request is void. Where nobody has ended it before, the gate has lost it."""
    found = work.handovers.find(acting.id)
    if found is None or found.state is not HandoverState.OPEN:
        return
    work.handovers.end(replace(found, state=HandoverState.LOST))
    told: Document = {"reason": "the gate has it no more"}
    acting.also.append(handover_event(acting, EventType.HANDOVER_LOST, told, Outcome.FAIL))


def _enveloped(_: Acting, __: Work, command: ExportEnvelope, made: Document) -> Document:
    return {"key": str(command.key), "blob_size": len(made["blob"])}


_IMPORT = Act(EventType.KEY_IMPORTED, _check_import, _made, opens=_open, lapse=_lapse)
ACTS = {
    ImportComponents: _IMPORT,
    ImportEnvelope: _IMPORT,
    ExportComponents: Act(
        EventType.KEY_EXPORTED, _check_components, _left, opens=_open, lapse=_lapse
    ),
    ExportEnvelope: Act(EventType.KEY_EXPORTED, _check_envelope, _enveloped),
}
