"""What our CA says of what it issued: lists (RFC 5280) and answers (RFC 6960), always of now.

A list is made anew once anything was revoked since, or its time is half over. An answer without a
nonce is kept and given again until something changes or half of its time is over.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha1, sha256
from threading import Lock
from uuid import UUID, uuid4

from asn1crypto.ocsp import OCSPRequest, OCSPResponse  # type: ignore[import-untyped]

from hsm.errors import HsmError
from keyvault.domain import der
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.der import DerError
from keyvault.domain.errors import ConflictError, InvalidInputError, NotFoundError, VaultError
from keyvault.domain.keys import KeyState
from keyvault.domain.times import text_of
from keyvault.domain.x509 import read_certificate
from keyvault.operations.ca import ca_stream
from keyvault.operations.vault import Vault
from keyvault.store.issued import Ca, RevocationList, Status
from keyvault.store.unit_of_work import Reading

REQUEST_LIMIT = 1_024  # bytes of a question about one certificate
NONCE_SIZES = range(1, 33)  # bytes, RFC 8954
KEPT = 4_096  # answers in one process
ACTOR = "service:ca"


def newest_list(vault: Vault, issuer: UUID) -> bytes:
    """The list (DER) of what an authority revoked, as of now. Raises `NotFoundError`."""
    now = vault.clock()
    with vault.database.reading() as work:
        ca = work.issued.ca(issuer)
        last = work.issued.newest_list(issuer)
        revoked = work.issued.revoked(issuer, now)
        usable = work.keys.get(issuer).state is KeyState.ACTIVE
    latest = max((one.revoked_at for one in revoked if one.revoked_at), default=ca.not_before)
    if last is not None and not usable:
        return last.crl  # the authority signs no more; its last word is what there is
    half = last.this_update + (last.next_update - last.this_update) / 2 if last else now
    if last is not None and latest < last.this_update and now < half:
        return last.crl
    return _listed(vault, ca, 1 if last is None else last.number + 1)


def _listed(vault: Vault, ca: Ca, number: int) -> bytes:
    begin = vault.clock().astimezone(UTC).replace(microsecond=0)
    end = min(begin + timedelta(hours=vault.settings.ca.list_hours), ca.not_after)
    with vault.database.reading() as work:
        revoked = work.issued.revoked(ca.key, begin)
    entries = [(one.serial, text_of(one.revoked_at or begin), one.reason) for one in revoked]
    dates = text_of(begin), text_of(end)
    crl = vault.gate.sign_crl(ca.key.bytes, number, dates, entries)
    with vault.database.work() as work:
        try:
            # Whatever is revoked in this very second belongs onto the next list.
            work.issued.add_list(RevocationList(ca.key, number, crl, begin, end))
        except ConflictError:
            return crl
        told: Document = {"number": number, "certificates": len(entries)}
        told |= {"this_update": dates[0], "next_update": dates[1]}
        told["sha256"] = sha256(crl).hexdigest()
        stream = ca_stream(ca.key)
        work.commit(AuditEvent(EventType.CRL_ISSUED, Outcome.OK, uuid4(), stream, ACTOR, told))
    return crl


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old the newest list of an authority is, in seconds, and how long it still counts."""

    issuer: UUID
    name: str
    age: float
    left: float


def freshness(vault: Vault) -> list[Freshness]:
    """Of every authority that signs: the figures of its newest list."""
    now = vault.clock()
    with vault.database.reading() as work:
        found = [
            (ca, work.issued.newest_list(ca.key))
            for ca in work.issued.cas()
            if work.keys.get(ca.key).state is KeyState.ACTIVE
        ]
    return [
        Freshness(
            ca.key,
            ca.name,
            (now - last.this_update).total_seconds(),
            (last.next_update - now).total_seconds(),
        )
        for ca, last in found
        if last is not None
    ]


def renew(vault: Vault) -> int:
    """Make the lists whose time is half over; how many authorities have one. For the clerk."""
    with vault.database.reading() as work:
        issuers = [
            ca.key for ca in work.issued.cas() if work.keys.get(ca.key).state is KeyState.ACTIVE
        ]
    for issuer in issuers:
        try:
            newest_list(vault, issuer)
        except (HsmError, VaultError):
            _note_stale(vault, issuer)
    return len(issuers)


def _note_stale(vault: Vault, issuer: UUID) -> None:
    """Write down, once for each list, that the newest one is over."""
    with vault.database.work() as work:
        last = work.issued.newest_list(issuer)
        if last is None or vault.clock() < last.next_update:
            return
        kind, stream = EventType.CRL_STALE, ca_stream(issuer)
        told: Document = {"number": last.number, "next_update": text_of(last.next_update)}
        before, _ = work.audit.page(type=kind, stream=stream)
        if any(each.payload and canonical(told) == each.payload for each in before):
            return
        work.commit(AuditEvent(kind, Outcome.FAIL, uuid4(), stream, ACTOR, told))


# OCSP ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """One certificate that somebody asks about. `algorithm` hashed the issuer's name and key."""

    algorithm: str
    name_hash: bytes
    key_hash: bytes
    serial: int
    nonce: bytes

    @property
    def key(self) -> tuple[bytes, int]:
        return self.key_hash, self.serial


class Answers:
    """Answers without a nonce that still count, in one process."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Question, str], tuple[datetime, bytes]] = {}
        self._lock = Lock()

    def get(self, question: Question, status: str, now: datetime) -> bytes | None:
        with self._lock:
            found = self._kept.get((question, status))
        return found[1] if found is not None and now < found[0] else None

    def keep(self, question: Question, status: str, until: datetime, answer: bytes) -> None:
        with self._lock:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[question, status] = (until, answer)


PRESIGNED = Answers()


def answer(vault: Vault, request: bytes) -> bytes:
    """Answer an OCSP request (DER); what is malformed or not ours is answered as such."""
    try:
        question = read_question(request)
        ca = _issuer(vault, question)
    except InvalidInputError:
        return _failure("malformed_request")
    except NotFoundError:
        return _failure("unauthorized")
    return _answered(vault, ca, question)


def _answered(vault: Vault, ca: Ca, question: Question) -> bytes:
    now = vault.clock().astimezone(UTC).replace(microsecond=0)
    with vault.database.reading() as work:
        if work.keys.get(ca.key).state is not KeyState.ACTIVE:
            return _failure("unauthorized")
        told = _told(work, ca, question)
    status = str(told)
    if not question.nonce and (kept := PRESIGNED.get(question, status, now)):
        return kept
    lasts = timedelta(hours=vault.settings.ca.answer_hours)
    dates = text_of(now), text_of(now + lasts)
    made = vault.gate.sign_ocsp(ca.key.bytes, told, dates, question.nonce)
    if not question.nonce:
        PRESIGNED.keep(question, status, now + lasts / 2, made)
    return made


def _told(work: Reading, ca: Ca, question: Question) -> Document:
    serial = question.serial.to_bytes((question.serial.bit_length() + 7) // 8 or 1).hex()
    found = work.issued.find(ca.key, serial)
    child = any(
        read_certificate(one.certificate).serial == question.serial for one in work.issued.cas()
    )
    gone = found is not None and found.status is Status.REVOKED
    return {
        "name_hash": question.name_hash,
        "key_hash": question.key_hash,
        "algorithm": question.algorithm,
        "serial": serial,
        "known": child or (found is not None and found.status is not Status.INTENT),
        "revoked": [text_of(found.revoked_at), found.reason]
        if found and gone and found.revoked_at
        else None,
    }


def _issuer(vault: Vault, question: Question) -> Ca:
    hashed = sha1 if question.algorithm == "sha1" else sha256
    with vault.database.reading() as work:
        for ca in work.issued.cas():
            read = read_certificate(ca.certificate)
            _, key = der.fields(der.only(read.spki, der.SEQUENCE), der.SEQUENCE, der.BIT_STRING)
            name = hashed(read.subject, usedforsecurity=False).digest()
            own = hashed(key[1:], usedforsecurity=False).digest()
            if (name, own) == (question.name_hash, question.key_hash):
                return ca
    raise NotFoundError("no authority of ours issued that")


def read_question(request: bytes) -> Question:
    """Read a request about one certificate. Raises `InvalidInputError`."""
    if len(request) > REQUEST_LIMIT:
        raise InvalidInputError(f"an OCSP request has at most {REQUEST_LIMIT} bytes")
    try:
        der.only(request, der.SEQUENCE)
        asked = OCSPRequest.load(request, strict=True)["tbs_request"]
        [one] = asked["request_list"]
        named = one["req_cert"]
        nonce = _nonce(asked["request_extensions"])
        return Question(
            algorithm=named["hash_algorithm"]["algorithm"].native,
            name_hash=named["issuer_name_hash"].native,
            key_hash=named["issuer_key_hash"].native,
            serial=abs(named["serial_number"].native),
            nonce=nonce,
        )
    except (ValueError, TypeError, KeyError, DerError) as error:
        raise InvalidInputError("not an OCSP request about one certificate") from error


def _nonce(extensions: object) -> bytes:
    for each in extensions or []:  # type: ignore[attr-defined]  # asn1crypto's, or nothing
        if each["extn_id"].native == "nonce":
            nonce = bytes(each["extn_value"].parsed.native)
            if len(nonce) not in NONCE_SIZES:
                raise InvalidInputError("a nonce has 1 to 32 bytes")
            return nonce
    return b""


def _failure(status: str) -> bytes:
    return bytes(OCSPResponse({"response_status": status}).dump())
