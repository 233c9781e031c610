"""Keys that become our own certification authorities, and those that sign cards."""

from hashlib import sha256

from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.commands import CertifyAuthority, CertifySigner, Command
from keyvault.domain.errors import KeyStateError
from keyvault.domain.keys import KeyState
from keyvault.domain.people import thumbprint
from keyvault.domain.times import text_of
from keyvault.domain.token_profiles import LeafProfile, serial_text
from keyvault.domain.x509 import read_certificate
from keyvault.operations.acts.base import Act, Acting, Asking
from keyvault.store.issued import SIGNER, Ca, Issued, Status
from keyvault.store.unit_of_work import Work


def _check(asking: Asking, command: CertifyAuthority | CertifySigner) -> None:
    key = asking.work.keys.get(command.key)
    if key.state is not KeyState.PRE_ACTIVE:
        raise KeyStateError(
            f"the key is {key.state}, so it may have signed other things before",
            next_step="order a new key for it",
        )
    if command.parent is not None:
        asking.work.issued.ca(command.parent).check_certifies(asking.now)


def _settle(acting: Acting, work: Work, command: CertifyAuthority, made: Document) -> Document:
    certificate = bytes(made["certificate"])
    read = read_certificate(certificate)
    ca = Ca(
        key=command.key,
        parent=command.parent,
        name=command.title,
        certificate=certificate,
        not_before=read.not_before,
        not_after=read.not_after,
    )
    work.issued.add_ca(ca, acting.id)
    return _told(command, certificate)


def _settle_signer(acting: Acting, work: Work, command: CertifySigner, made: Document) -> Document:
    """It is one of those that its issuer issued: it stands on lists, and can be revoked."""
    certificate = bytes(made["certificate"])
    read = read_certificate(certificate)
    one = Issued(
        serial=serial_text(read.serial),
        issuer=command.parent,
        job=str(command.key),
        slot=SIGNER,
        profile=str(LeafProfile.CONTENT_SIGNING),
        subject=command.title,
        spki_sha256=thumbprint(read.spki),
        token=None,
        status=Status.INTENT,
        terms=canonical(command.parameters()),
        certificate=b"",
        reason="",
        actor=acting.actor,
        not_before=read.not_before,
        not_after=read.not_after,
    )
    if work.issued.of_job(one.job, one.slot) is None:
        work.issued.reserve(one)
        work.issued.complete(one.serial, certificate)
    return _told(command, certificate)


def _told(command: CertifyAuthority | CertifySigner, certificate: bytes) -> Document:
    read = read_certificate(certificate)
    return {
        "key": str(command.key),
        "parent": str(command.parent) if command.parent else None,
        "name": command.title,
        "serial": serial_text(read.serial),
        "ends": text_of(read.not_after),
        "sha256": sha256(certificate).hexdigest(),
    }


ACTS: dict[type[Command], Act] = {
    CertifyAuthority: Act(EventType.CA_CERTIFIED, _check, _settle),
    CertifySigner: Act(EventType.SIGNER_CERTIFIED, _check, _settle_signer),
}
