"""Signed files, held against our own authorities and what they revoked, and written down."""

from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID, uuid4

from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.certificates import CertificateState, Kind
from keyvault.domain.errors import FileSignatureError
from keyvault.domain.people import thumbprint
from keyvault.domain.token_profiles import serial_text
from keyvault.operations import cms
from keyvault.operations.cms import Digests, Signer
from keyvault.operations.tokens import token_stream
from keyvault.operations.vault import Vault, permit
from keyvault.signatures import spki_of_certificate
from keyvault.store.unit_of_work import Reading

ROOTS = 500  # watched ones that are looked at


@dataclass(frozen=True, slots=True)
class File:
    """A file by its name and hashes, and the signature beside it (CMS, DER)."""

    name: str
    digests: Digests
    signature: bytes


def signed(vault: Vault, who: Principal, file: File) -> Signer:
    """Check what was just signed, and write down that it was. Raises `FileSignatureError`."""
    return _written(vault, who, file, EventType.FILE_SIGNED)


def verified(vault: Vault, who: Principal, file: File) -> Signer:
    """Check a signed file, and write down what came of it. Raises `FileSignatureError`."""
    return _written(vault, who, file, EventType.FILE_VERIFIED)


def _written(vault: Vault, who: Principal, file: File, kind: EventType) -> Signer:
    role = permit(vault, who, Action.TOKEN_OWN).role
    told: Document = {
        "name": file.name,
        "sha256": file.digests.sha256.hex(),
        "signature_sha256": sha256(file.signature).hexdigest(),
    }
    try:
        signer, token = _checked(vault, file)
    except FileSignatureError as error:
        told["reason"] = str(error)
        with vault.database.work() as work:
            refused = Outcome.REFUSED
            work.commit(AuditEvent(kind, refused, uuid4(), "files", who.actor, told, role))
        raise
    told |= {"signer": signer.subject, "serial": serial_text(signer.serial)}
    if cms.hash_of(signer.certificate) == "sha384":
        told["sha384"] = file.digests.sha384.hex()  # it is this one that was signed
    stream = token_stream(token) if token else "files"
    with vault.database.work() as work:
        if kind is EventType.FILE_SIGNED:
            work.tokens.used(thumbprint(spki_of_certificate(signer.certificate)), vault.clock())
        work.commit(AuditEvent(kind, Outcome.OK, uuid4(), stream, who.actor, told, role))
    return signer


def _checked(vault: Vault, file: File) -> tuple[Signer, UUID | None]:
    with vault.database.reading() as work:
        roots = _roots(work)
    signer = cms.check(file.signature, file.digests, roots, vault.clock())
    name = thumbprint(spki_of_certificate(signer.certificate))
    with vault.database.reading() as work:
        token = work.tokens.token_of_key(name)
        if work.issued.is_revoked(name) or work.tokens.stopped(name):
            raise FileSignatureError(
                "the certificate of its signer is revoked, or their token is stopped",
                next_step="ask for a signature by somebody else",
            )
    return signer, token.id if token else None


def _roots(work: Reading) -> list[bytes]:
    """Those that we believe: our own, and others' roots that a custodian imported."""
    own = [ca.certificate for ca in work.issued.cas() if ca.parent is None]
    in_use = {"state": CertificateState.IN_USE, "kind": Kind.ROOT}
    filters = {"scope": None, "key_id": None, "batch": None, **in_use}
    watched, _ = work.certificates.page(filters, None, None, ROOTS)
    return [*own, *(one.certificate for one in watched if one.certificate)]
