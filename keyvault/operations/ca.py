"""Our own certification authority: what it issues, revokes, and tells about both.

A certificate has its row, with its serial, before anything is signed. Whoever asks again for the
same job and slot gets the certificate that is there, or has that very one finished.
"""

import csv
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import StringIO
from uuid import UUID, uuid4

from keyvault.domain import csr as requests
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.errors import (
    ConflictError,
    NotFoundError,
    StatementInvalidError,
    TokenDuplicateError,
    TokenStateError,
)
from keyvault.domain.keys import KeyState
from keyvault.domain.people import thumbprint
from keyvault.domain.statements import CertifyKey, Signed
from keyvault.domain.times import text_of
from keyvault.domain.token_profiles import (
    LEAVES,
    SERIAL_SIZE,
    LeafProfile,
    profile_of,
)
from keyvault.domain.tokens import Step
from keyvault.domain.x509 import name_text, read_certificate
from keyvault.operations.tokens import token_stream
from keyvault.operations.vault import Vault, permit
from keyvault.store.issued import Ca, Issued, Status
from keyvault.store.unit_of_work import Reading

BACKDATED = timedelta(minutes=5)  # for clocks that are behind ours


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants certified. `words` are what people signed about it, as documents."""

    job: str
    slot: str
    profile: LeafProfile
    spki: bytes
    proof: bytes
    words: list[Document]
    token: UUID | None = None


def authorities(vault: Vault, who: Principal) -> list[Ca]:
    """Every authority of ours, the oldest first."""
    permit(vault, who, Action.TOKEN_READ)
    with vault.database.reading() as work:
        return work.issued.cas()


def certificate_of(vault: Vault, issuer: UUID) -> bytes:
    """The certificate (DER) of an authority, for anybody. Raises `NotFoundError`."""
    with vault.database.reading() as work:
        return work.issued.ca(issuer).certificate


# Issuing -------------------------------------------------------------------------------------


def issue_token_certificate(
    vault: Vault,
    who: Principal,
    token_id: UUID,
    slot: str,
    spki: bytes,
    proof: bytes,
    job: UUID,
) -> bytes:
    """The one certificate (DER) of this job and slot: issued now, or before.

    `proof` is the token's signature over `token_profiles.possession`. Whose it will be was signed
    by who nominated and who vetted them; the gate reads both. Raises `TokenStateError` where
    nobody allocated the token, `TokenDuplicateError` where another token has the key.
    """
    permit(vault, who, Action.TOKEN_ISSUE)
    with vault.database.reading() as work:
        token = work.tokens.get(token_id)
        token.check(Step.PERSONALISE)
        if token.job != str(job):
            raise TokenStateError(f"the issuing job {job} does not have this token")
        words = allocation(work, token_id)
        owner = work.tokens.token_of_key(thumbprint(spki))
    if owner is not None and owner.id != token_id:
        raise TokenDuplicateError(
            f"token {owner.id} has this very key", next_step="quarantine both"
        )
    asked = Asked(str(job), slot, profile_of(slot), spki, proof, words, token_id)
    return _issued(vault, who, asked)


def allocation(work: Reading, token_id: UUID) -> list[Document]:
    """The newest allocation of a token, and the nomination that it rests on, as signed."""
    found = work.tokens.statements(token=token_id, step="allocate")
    if not found:
        raise TokenStateError(
            "nobody allocated this token", next_step=f"keyvault tokens allocate {token_id}"
        )
    allocated = found[-1].signed
    nomination = work.tokens.statement(allocated.statement.said.nomination)  # type: ignore[attr-defined]  # an Allocate
    return [nomination.signed.document(), allocated.document()]


def certify_key(vault: Vault, who: Principal, signed: Signed, request: bytes) -> bytes:
    """Certify a key on no token by its PKCS#10 request, as a registrar signed: DER.

    The gate holds the request and the signature against each other.
    """
    permit(vault, who, Action.CERTIFICATE_ISSUE)
    said = signed.statement.said
    if not isinstance(said, CertifyKey) or signed.statement.person != who.id:
        raise StatementInvalidError("the statement is not one of yours that has a key certified")
    spki = _spki_of(request)
    asked = Asked(
        str(signed.statement.id), "request", LeafProfile(said.profile), spki, request,
        [signed.document()],
    )  # fmt: skip
    return _issued(vault, who, asked, said.issuer)


def _spki_of(request: bytes) -> bytes:
    found = requests.lint(request, None).csr
    if found is None:
        raise StatementInvalidError("the request cannot be read")
    return found.spki


def _issued(vault: Vault, who: Principal, asked: Asked, issuer: UUID | None = None) -> bytes:
    one = _reserved(vault, who, asked, issuer)
    if one.certificate:
        return one.certificate
    if one.status is Status.REVOKED:
        raise ConflictError(
            "this certificate was revoked before it was made", next_step="begin a new job"
        )
    terms: Document = {
        "issuer": one.issuer.bytes,
        "job": asked.job,
        "slot": asked.slot,
        "serial": one.serial,
        "spki": asked.spki,
        "not_before": text_of(one.not_before),
        "not_after": text_of(one.not_after),
    }
    made = vault.gate.issue_leaf(terms, asked.words, asked.proof)
    return _completed(vault, who, one, made)


def _reserved(vault: Vault, who: Principal, asked: Asked, issuer: UUID | None) -> Issued:
    """The row of this job and slot, with its serial; made now if it is not there."""
    serial = (b"\x01" + vault.gate.random(SERIAL_SIZE - 1)).hex()
    with vault.database.work() as work:
        there = work.issued.of_job(asked.job, asked.slot)
        if there is not None:
            return _same(there, asked)
        one = _planned(vault, who, asked, issuing(work, issuer, vault.clock()), serial)
        work.issued.reserve(one)
        work.commit(_event(EventType.CERT_ISSUED, who.actor, one, _told(one), Outcome.INTENT))
        return one


def _same(there: Issued, asked: Asked) -> Issued:
    if there.spki_sha256 != thumbprint(asked.spki):
        raise ConflictError(
            "this job and slot have a certificate for another key",
            next_step="abandon the job and begin a new one",
        )
    return there


def _planned(vault: Vault, who: Principal, asked: Asked, ca: Ca, serial: str) -> Issued:
    begin = vault.clock().astimezone(UTC).replace(microsecond=0) - BACKDATED
    begin = max(begin, ca.not_before)
    return Issued(
        serial=serial,
        issuer=ca.key,
        job=asked.job,
        slot=asked.slot,
        profile=str(asked.profile),
        subject="",
        spki_sha256=thumbprint(asked.spki),
        token=asked.token,
        status=Status.INTENT,
        terms=canonical(asked.words[-1]),
        certificate=b"",
        reason="",
        actor=who.actor,
        not_before=begin,
        not_after=min(begin + timedelta(days=LEAVES[asked.profile].days), ca.not_after),
    )


def issuing(work: Reading, issuer: UUID | None, now: datetime) -> Ca:
    """The authority that issues: the one named, or the newest that another one certified.

    Raises `KeyStateError` if the one named has ended, `NotFoundError` if there is none.
    """
    if issuer is not None:
        ca = work.issued.ca(issuer)
        ca.check_certifies(now)
        return ca
    for ca in reversed(work.issued.cas()):
        if (
            ca.parent is not None
            and now < ca.not_after
            and work.keys.get(ca.key).state is KeyState.ACTIVE
        ):
            return ca
    raise NotFoundError(
        "no authority of ours issues certificates", next_step="make one: keyvault ca certify"
    )


def _completed(vault: Vault, who: Principal, one: Issued, made: bytes) -> bytes:
    with vault.database.work() as work:
        if not work.issued.complete(one.serial, made):
            return work.issued.get(one.serial).certificate
        told: Document = {
            **_told(one),
            "subject": name_text(read_certificate(made).subject),
            "sha256": sha256(made).hexdigest(),
        }
        work.commit(_event(EventType.CERT_ISSUED, who.actor, one, told))
        return made


def _told(one: Issued) -> Document:
    return {
        "serial": one.serial,
        "issuer": str(one.issuer),
        "profile": one.profile,
        "job": one.job,
        "slot": one.slot,
        "key_sha256": one.spki_sha256,
        "not_before": text_of(one.not_before),
        "not_after": text_of(one.not_after),
    }


def _event(
    kind: EventType, actor: str, one: Issued, told: Document, outcome: Outcome = Outcome.OK
) -> AuditEvent:
    stream = token_stream(one.token) if one.token else ca_stream(one.issuer)
    return AuditEvent(kind, outcome, uuid4(), stream, actor, told)


def ca_stream(issuer: UUID) -> str:
    return f"ca:{issuer}"


# Revoking and telling ------------------------------------------------------------------------


def revoke(vault: Vault, who: Principal, serial: str, reason: str) -> Issued:
    """Revoke one certificate of ours: it opens nothing from this commit on."""
    role = permit(vault, who, Action.TOKEN_VET).role
    with vault.database.work() as work:
        one = work.issued.get(serial)
        if not work.issued.revoke(serial, reason, vault.clock()):
            return one
        told: Document = {**_told(one), "reason": reason}
        event = _event(EventType.CERT_REVOKED, who.actor, one, told)
        work.commit(replace(event, role=role))
        return replace(one, status=Status.REVOKED, reason=reason, revoked_at=vault.clock())


def page(
    vault: Vault, who: Principal, issuer: UUID, after: str | None = None, limit: int = 50
) -> tuple[list[Issued], str | None]:
    """List what an authority issued, newest first."""
    permit(vault, who, Action.TOKEN_READ)
    with vault.database.reading() as work:
        work.issued.ca(issuer)
        return work.issued.page(issuer, after, limit)


@dataclass(frozen=True, slots=True)
class Export:
    """All that an authority issued: CSV, and a manifest with its digest, signed (DER)."""

    csv: bytes
    manifest: bytes
    signature: bytes


COLUMNS = ("serial", "status", "profile", "token", "slot", "spki_sha256")


def export(vault: Vault, who: Principal, issuer: UUID) -> Export:
    """Write everything that an authority issued, signed with the evidence key of the genesis."""
    permit(vault, who, Action.TOKEN_READ)
    with vault.database.reading() as work:
        origin, head = vault.authority(work).origin, work.audit.head()
        work.issued.ca(issuer)
        found = work.issued.all_of(issuer)
    data = _table(found)
    manifest = canonical(
        {
            "ctx": "keyvault-issued-v1",
            "origin": origin,
            "issuer": str(issuer),
            "certificates": len(found),
            "sha256": sha256(data).hexdigest(),
            "size": head.size,
            "root": head.root.hex(),
            "at": text_of(vault.clock()),
        }
    )
    return Export(data, manifest, vault.gate.sign_manifest(manifest))


def _table(found: list[Issued]) -> bytes:
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow((*COLUMNS, "not_before", "not_after", "revoked_at", "reason"))
    for one in found:
        times = (one.not_before, one.not_after, one.revoked_at)
        told = ["" if at is None else text_of(at) for at in times]
        table.writerow((*(getattr(one, name) or "" for name in COLUMNS), *told, one.reason))
    return text.getvalue().encode()
