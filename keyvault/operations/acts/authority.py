"""Changes of authority: a signed record is added to the chain."""

from keyvault import signatures
from keyvault.domain.access import SYSTEM_ACTIONS
from keyvault.domain.audit import EventType
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.chain import Record, extend
from keyvault.domain.changes import applied
from keyvault.domain.commands import (
    AUTHORITY_COMMANDS,
    Command,
    EnrolCredential,
    EnrolSystem,
    RegisterPerson,
    RotateSystem,
    SetSpareKey,
)
from keyvault.domain.errors import ConflictError, InvalidInputError
from keyvault.domain.linting import lint
from keyvault.domain.people import thumbprint
from keyvault.domain.times import text_of
from keyvault.operations.acts.base import Act, Acting, Asking
from keyvault.store.unit_of_work import Work


def _check(asking: Asking, command: Command) -> None:
    """Whether the record would stand: what it changes is tried out, without its signatures."""
    authority, person = asking.authority, getattr(command, "person", "")
    if isinstance(command, RegisterPerson):
        if person in authority.people:
            raise ConflictError(f"a person {person} is registered already")
    elif person:
        authority.person(person)
    if isinstance(command, RegisterPerson | EnrolCredential):
        for one in command.credentials:
            signatures.check_person_key(one.spki)
    if isinstance(command, EnrolSystem | RotateSystem):
        _check_system(authority, command)
    if isinstance(command, SetSpareKey):
        signatures.check_person_key(command.spki)  # of the same kind
    of_certificate = signatures.spki_of_certificate
    changed = applied(authority, command, asking.scope, asking.now, of_certificate)
    lint(changed, command, before=authority)


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


def _settle(acting: Acting, work: Work, _: Command, __: Document) -> Document:
    authority, asked = acting.vault.authority(work), acting.asked
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


ACTS = dict.fromkeys(
    AUTHORITY_COMMANDS, Act(EventType.AUTHORITY_CHANGED, _check, _settle, device=False)
)
