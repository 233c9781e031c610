"""Tokens that another authority certifies: requests out of a job, and its answers back into it.

The token's own key signs each request. What comes back is held against it, and its issuer against
the authorities that custodians told us to believe, before the token is asked for again.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from cryptography import x509 as library
from cryptography.x509.oid import NameOID

from keyvault import signatures
from keyvault.domain import csr, x509
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.certificates import mismatches, serial_text
from keyvault.domain.errors import CertificateDiffersError, IssueStateError, NotFoundError
from keyvault.domain.issuing import IssueJob, Issuer, Standing
from keyvault.domain.people import Person
from keyvault.domain.profiles import ECDSA_SHA256, RSA_SHA256
from keyvault.domain.times import text_of
from keyvault.domain.token_profiles import DIGITAL_SIGNATURE, LEAVES, profile_of
from keyvault.domain.tokens import Token
from keyvault.domain.x509 import X509, read_certificate
from keyvault.operations import issuing_house as house
from keyvault.operations.vault import Vault, permit
from keyvault.store.unit_of_work import Reading

TEXT_LIMIT = 64  # characters of a name (RFC 5280, appendix A.1)


def request_info(vault: Vault, job: IssueJob, slot: str, spki: bytes) -> bytes:
    """What a token's key is to sign: for whom it is, out of the register, and what for."""
    with vault.database.reading() as work:
        token = work.tokens.get(job.token)
        person = vault.authority(work).person(token.holder)
    iki = job.issuer is Issuer.IKI
    usages = frozenset({DIGITAL_SIGNATURE}) if iki else LEAVES[profile_of(slot)].usages
    return csr.plain_info(_subject(person, token, iki=iki), spki, x509.usage_of(usages))


def _subject(person: Person, token: Token, *, iki: bool) -> bytes:
    """The same names as in a certificate of ours; for the IKI the three that its profile has."""
    names = [(NameOID.ORGANIZATION_NAME, person.organisation)]
    if iki:
        names += [(NameOID.ORGANIZATIONAL_UNIT_NAME, token.purpose)]
    names += [(NameOID.COMMON_NAME, person.name)]
    if not iki:
        names += [(NameOID.SERIAL_NUMBER, person.id), (NameOID.USER_ID, str(token.id))]
    made = [library.NameAttribute(kind, value[:TEXT_LIMIT]) for kind, value in names]
    return library.Name(made).public_bytes()


def request(spki: bytes, info: bytes, signature: bytes) -> bytes:
    """The request with its signature. Raises `IssueStateError` where the key did not make it."""
    algorithm = ECDSA_SHA256 if x509.is_curved(spki) else RSA_SHA256
    if not signatures.verify_x509(spki, algorithm, info, signature):
        raise IssueStateError("the token's signature under its request is wrong")
    return csr.plain_request(info, algorithm, signature)


def requests(vault: Vault, who: Principal, job_id: UUID) -> dict[str, bytes]:
    """The requests (PKCS#10, DER) of a job by slot. Raises `IssueStateError` at one of ours."""
    permit(vault, who, Action.TOKEN_ISSUE)
    with vault.database.reading() as work:
        job = work.issuing.get(job_id)
    found = {slot: b64decode(each) for slot, each in job.by_slot("requests").items()}
    if not found:
        raise IssueStateError(
            "this job has no requests", next_step="they are made at a desk, for --issuer other"
        )
    return found


def take(vault: Vault, who: Principal, job_id: UUID, certificates: Sequence[bytes]) -> IssueJob:
    """Take certificates (DER) into a job that awaits them. Repeating it changes nothing.

    Raises `CertificateDiffersError` at one that is not what was asked for, or whose issuer nobody
    said to believe; then none of them is taken.
    """
    permit(vault, who, Action.TOKEN_ISSUE)
    with vault.database.work() as work:
        job = work.issuing.get(job_id)
        taken = job
        for found in map(read_certificate, certificates):
            taken = _with(work, taken, found, vault.clock())
        if taken == job:
            return job
        if job.standing is not Standing.AWAITING:
            raise IssueStateError(f"a job that is {job.standing} awaits no certificates")
        saved = replace(taken, version=job.version + 1, changed_at=vault.clock())
        work.issuing.change(saved)
        told: Document = {"what": "certificates taken", "certificates": saved.facts["elsewhere"]}
        work.commit(house.event(EventType.ISSUE_STEP, who, saved, told, Outcome.OK))
        return saved


def _with(work: Reading, job: IssueJob, found: X509, now: datetime) -> IssueJob:
    slot = _slot_of(job, found)
    kept = job.by_slot("certificates")
    text = b64encode(found.data).decode()
    if kept.get(slot) == text:
        return job
    if slot in kept:
        raise CertificateDiffersError(f"slot {slot} has another certificate of this job already")
    differ = mismatches(csr.read(b64decode(job.by_slot("requests")[slot])), found, now)
    if differ:
        raise CertificateDiffersError(
            f"slot {slot}: "
            + "; ".join(f"{one.field} is {one.found}, not {one.wanted}" for one in differ),
            next_step="have the authority issue what the request says",
        )
    _check_issuer(work, found)
    told = {"slot": slot, "serial": serial_text(found.serial)}
    told |= {"issuer": x509.name_text(found.issuer), "not_after": text_of(found.not_after)}
    elsewhere = [*_list(job.facts.get("elsewhere")), told]
    return job.noting(certificates={**kept, slot: text}, elsewhere=elsewhere)


def _slot_of(job: IssueJob, found: X509) -> str:
    for slot, spki in job.by_slot("keys").items():
        if b64decode(spki) == found.spki and slot in job.by_slot("requests"):
            return slot
    raise NotFoundError(
        "the certificate is for no key of this job",
        next_step="see whose it is: keyvault issuing requests",
    )


def _check_issuer(work: Reading, found: X509) -> None:
    named = [read_certificate(one.certificate) for one in work.certificates.issuers([found.issuer])]
    signed = found.signature_algorithm, found.signed, found.signature
    if not any(
        one.is_ca and signatures.verify_x509(one.spki, *signed)
        for one in named
        if one.subject == found.issuer
    ):
        raise CertificateDiffersError(
            f"nobody said to believe who signed it: {x509.name_text(found.issuer)[:200]}",
            next_step="have its issuer watched: keyvault certificates watch",
        )


def ends(job: IssueJob) -> datetime | None:
    """When the first certificate of another authority ends; None where ours are on the token."""
    if job.issuer is Issuer.OWN:
        return None
    found = [read_certificate(b64decode(one)) for one in job.by_slot("certificates").values()]
    return min(one.not_after for one in found)


def _list(value: object) -> list[Document]:
    return list(value) if isinstance(value, list) else []
