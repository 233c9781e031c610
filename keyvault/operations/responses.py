"""What comes back from the authority: matched to keys, held against requests, kept or rejected."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from uuid import UUID, uuid5

from keyvault import signatures
from keyvault.domain import csr, x509
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.certificates import (
    Certificate,
    CertificateState,
    Kind,
    Mismatch,
    mismatches,
    received,
    serial_text,
)
from keyvault.domain.errors import CertificateUnreadableError, ConflictError, InvalidInputError
from keyvault.domain.people import thumbprint
from keyvault.domain.scopes import Scope
from keyvault.domain.standing import Reach
from keyvault.domain.times import text_of
from keyvault.domain.x509 import X509
from keyvault.operations.certificates import CHUNK, event, permit_in
from keyvault.operations.vault import Once, Vault, permit, recall, remember
from keyvault.store.unit_of_work import Reading, Work

_WATCHED = UUID("6b657976-6175-4c74-8063-657274696679")


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: a certificate, or the authority's word that there is none."""

    name: str  # of the file; for a word without a certificate, of the request: <id>.csr
    certificate: bytes = b""
    status: str = ""  # error, anomaly or ineligible
    detail: str = ""


class Result(StrEnum):
    ISSUED = "issued"  # it fits: a person accepts or rejects it now
    REJECTED = "rejected"  # it differs from its request
    REFUSED = "refused"  # the authority issued nothing
    REPEATED = "repeated"  # it was here before; nothing changed
    NOT_AWAITED = "not-awaited"  # its request is not submitted, or is settled
    UNKNOWN = "unknown"  # no request of ours has this key or name
    UNREADABLE = "unreadable"  # no certificate
    ISSUER_UNKNOWN = "issuer-unknown"  # nobody imported who issued it
    FORGED = "forged"  # who should have issued it did not sign it


# What does not say that something is wrong.
FINE = frozenset({Result.ISSUED, Result.REPEATED})


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of one answer."""

    name: str
    result: Result
    certificate: Certificate | None = None
    mismatches: tuple[Mismatch, ...] = ()
    detail: str = ""
    found: X509 | None = field(default=None, repr=False)

    def document(self) -> Document:
        known = None if self.certificate is None else str(self.certificate.id)
        return {
            "name": self.name,
            "result": str(self.result),
            "certificate": known,
            "mismatches": [each._asdict() for each in self.mismatches],
            "detail": self.detail,
        }


def take(
    vault: Vault, who: Principal, answers: Sequence[Answered], once: Once | None = None
) -> list[Taken]:
    """Take in up to 200 answers, in this order. Nothing that is not understood changes anything."""
    if not 0 < len(answers) <= CHUNK:
        raise InvalidInputError(f"give 1 to {CHUNK} answers")
    read = [_read(answer) for answer in answers]
    with vault.database.reading() as work:
        scopes = _scopes(work, answers, read)
    role = permit_in(vault, who, Action.CERTIFICATE_RECORD, scopes)
    with vault.database.work() as work:
        if earlier := recall(work, who, once):
            return _recalled(work, earlier)
        taken = list(_matched(vault, work, answers, read))
        events = [made for each in taken if (made := _event(who, role, each)) is not None]
        if events:
            remember(work, who, once, {"items": [each.document() for each in taken]})
            work.commit(events[0], *events[1:])
    return taken


def _read(answer: Answered) -> X509 | str:
    if not answer.certificate:
        return ""
    try:
        return x509.read_certificate(answer.certificate)
    except CertificateUnreadableError as error:
        return str(error)


def _scopes(
    work: Reading, answers: Sequence[Answered], read: Sequence[X509 | str]
) -> set[Scope | None]:
    keys = {thumbprint(each.spki) for each in read if isinstance(each, X509)}
    named = (_named(work, each.name) for each in answers if each.status)
    ours = [*work.certificates.by_public_key(keys), *(one for one in named if one is not None)]
    return {one.scope for one in ours}


def _matched(
    vault: Vault, work: Work, answers: Sequence[Answered], read: Sequence[X509 | str]
) -> Iterator[Taken]:
    certificates = [each for each in read if isinstance(each, X509)]
    ours = defaultdict[str, list[Certificate]](list)
    for one in work.certificates.by_public_key({thumbprint(c.spki) for c in certificates}):
        ours[one.spki_sha256].append(one)
    trusted = work.certificates.issuers({c.issuer for c in certificates})
    for answer, found in zip(answers, read, strict=True):
        if not isinstance(found, X509):
            yield _word(work, answer, found)
            continue
        same = ours[thumbprint(found.spki)]
        at = _awaited(same)
        taken = _compared(vault, same[at] if same else None, found, answer.name, trusted)
        if taken.certificate is not None and taken.found is not None:
            work.certificates.change(taken.certificate)
            same[at] = taken.certificate
        yield taken


def _awaited(same: list[Certificate]) -> int:
    """Which request of a key waits for an answer, or else its newest."""
    waiting = (at for at, one in enumerate(same) if one.state is CertificateState.SUBMITTED)
    return next(waiting, 0)


def _compared(
    vault: Vault, one: Certificate | None, found: X509, name: str, trusted: list[Certificate]
) -> Taken:
    if one is None:
        return Taken(name, Result.UNKNOWN, detail=f"serial {serial_text(found.serial)}")
    if one.certificate == found.data and one.state is not CertificateState.SUBMITTED:
        return Taken(name, Result.REPEATED, one)
    if one.state is not CertificateState.SUBMITTED:
        return Taken(name, Result.NOT_AWAITED, one, detail=f"its request is {one.state}")
    result = _believed(found, trusted)
    if result is not None:
        return Taken(name, result, one, detail=f"issuer {x509.name_text(found.issuer)}")
    now = vault.clock()
    differ = mismatches(csr.read(one.csr), found, now)
    if differ:
        reason = f"differs in {', '.join(each.field for each in differ)}"
        rejected = one.to(CertificateState.REJECTED, certificate=found.data, reason=reason)
        return Taken(name, Result.REJECTED, rejected, differ, found=found)
    patience = timedelta(hours=vault.settings.certificates.decide_within)
    return Taken(name, Result.ISSUED, received(one, found, now, patience), found=found)


def _believed(found: X509, trusted: list[Certificate]) -> Result | None:
    """Say why a certificate is not its issuer's, or nothing."""
    named = [x509.read_certificate(each.certificate) for each in trusted]
    issuers = [each for each in named if each.subject == found.issuer]
    if not issuers:
        return Result.ISSUER_UNKNOWN
    signed = found.signature_algorithm, found.signed, found.signature
    good = any(signatures.verify_x509(each.spki, *signed) for each in issuers)
    return None if good else Result.FORGED


def _word(work: Work, answer: Answered, unreadable: str) -> Taken:
    """Take in the authority's word that it issues nothing. It names the request's file."""
    if unreadable or not answer.status:
        return Taken(answer.name, Result.UNREADABLE, detail=unreadable or "there is nothing in it")
    one = _named(work, answer.name)
    if one is None:
        return Taken(answer.name, Result.UNKNOWN)
    if one.state is not CertificateState.SUBMITTED:
        return Taken(answer.name, Result.NOT_AWAITED, one, detail=f"its request is {one.state}")
    said = f"{answer.status}: {answer.detail}".rstrip(": ")
    refused = one.to(CertificateState.REJECTED, reason=said)
    work.certificates.change(refused)
    return Taken(answer.name, Result.REFUSED, refused, detail=said)


def _named(work: Reading, name: str) -> Certificate | None:
    try:
        wanted = UUID(name.removesuffix(".csr"))
    except ValueError:
        return None
    return work.certificates.known([wanted]).get(wanted)


def _recalled(work: Reading, earlier: Document) -> list[Taken]:
    ids = [UUID(each["certificate"]) for each in earlier["items"] if each["certificate"]]
    known = work.certificates.known(ids)
    return [
        Taken(
            each["name"],
            Result(each["result"]),
            known[UUID(each["certificate"])] if each["certificate"] else None,
            tuple(Mismatch(**one) for one in each["mismatches"]),
            each["detail"],
        )
        for each in earlier["items"]
    ]


def _event(who: Principal, role: str, taken: Taken) -> AuditEvent | None:
    one, found = taken.certificate, taken.found
    if one is None:
        return None
    if taken.result is Result.REFUSED:
        return event(EventType.CSR_REJECTED, who.actor, role, one, {"reason": one.reason})
    if found is None:
        return None
    payload: Document = {
        "certificate_sha256": sha256(found.data).hexdigest(),
        "serial": serial_text(found.serial),
        "issuer": x509.name_text(found.issuer),
        "not_before": text_of(found.not_before),
        "not_after": text_of(found.not_after),
    }
    if taken.result is Result.REJECTED:
        differ: Document = {"mismatches": [each._asdict() for each in taken.mismatches]}
        kind, outcome = EventType.CERT_REJECTED, Outcome.REFUSED
        return event(kind, who.actor, role, one, {**payload, **differ}, outcome)
    until: Document = {"decide_until": text_of(one.decide_until)} if one.decide_until else {}
    return event(EventType.CERT_RECEIVED, who.actor, role, one, {**payload, **until})


# Others' certificates ------------------------------------------------------------------------


def watch(
    vault: Vault, who: Principal, data: bytes, kind: Kind, once: Once | None = None
) -> Certificate:
    """Import another's certificate, to be told when it ends; a root or issuing one, to believe.

    Raises `ConflictError` if it is there already, `CertificateUnreadableError`.
    """
    where = Reach.ANY if kind is Kind.OTHER else Reach.ALL
    permitted = permit(vault, who, Action.CERTIFICATE_RECORD, where=where)
    found = x509.read_certificate(data)
    one = _watched(vault, found, kind)
    with vault.database.work() as work:
        if earlier := recall(work, who, once):
            return work.certificates.get(UUID(earlier["certificate"]))
        _check_chain(work, found, kind)
        if not work.certificates.add(one):
            raise ConflictError(f"this certificate is watched already, as {one.id}")
        remember(work, who, once, {"certificate": str(one.id)})
        payload: Document = {
            "kind": str(kind),
            "subject": one.subject,
            "issuer": one.issuer,
            "serial": one.serial,
            "not_after": text_of(found.not_after),
            "certificate_sha256": sha256(data).hexdigest(),
        }
        work.commit(event(EventType.CERT_WATCHED, who.actor, permitted.role, one, payload))
    return one


def _watched(vault: Vault, found: X509, kind: Kind) -> Certificate:
    return Certificate(
        id=uuid5(_WATCHED, sha256(found.data).hexdigest()),  # so that none is there twice
        kind=kind,
        state=CertificateState.IN_USE,
        version=1,
        created_at=vault.clock(),
        spki_sha256=thumbprint(found.spki),
        subject=x509.name_text(found.subject),
        certificate=found.data,
        issuer=x509.name_text(found.issuer),
        serial=serial_text(found.serial),
        not_before=found.not_before,
        not_after=found.not_after,
    )


def _check_chain(work: Reading, found: X509, kind: Kind) -> None:
    """A root has signed itself; what issues has been signed by a root that is believed."""
    if kind is Kind.OWN:
        raise InvalidInputError("our own certificates come as answers to requests")
    if kind is Kind.OTHER:
        return
    if not found.is_ca:
        raise InvalidInputError(
            "the certificate does not say that it may issue others", next_step="watch it as other"
        )
    signed = found.signature_algorithm, found.signed, found.signature
    if kind is Kind.ROOT:
        issuers = [found.spki] if found.subject == found.issuer else []
    else:
        believed = work.certificates.issuers([found.issuer])
        issuers = [x509.read_certificate(each.certificate).spki for each in believed]
    if not any(signatures.verify_x509(spki, *signed) for spki in issuers):
        raise InvalidInputError(
            f"a {kind} certificate was expected, signed by its issuer "
            f"{x509.name_text(found.issuer)[:200]}",
            next_step="import the root first, then what it has issued",
        )
