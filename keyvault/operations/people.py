"""Who calls: sessions of people, enrolled systems, and the people and systems there are."""

from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import uuid4

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from keyvault import signatures
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.chain import Record
from keyvault.domain.errors import InvalidInputError, NotAuthenticatedError
from keyvault.domain.people import Person, System, thumbprint
from keyvault.domain.times import time_of
from keyvault.operations.vault import Vault, permit
from keyvault.store.authority import SHORT
from keyvault.store.unit_of_work import Reading

CHALLENGE_LIFE = timedelta(minutes=5)
LONGEST_SESSION = timedelta(hours=24)  # that the settings can give


def head(vault: Vault) -> tuple[str, int]:
    """Return what changes with who may call. Raises `AuthorityError`.

    The short hash of the newest authority record, verified, and how often tokens were changed
    and certificates of ours revoked.
    """
    with vault.database.reading() as work:
        return vault.authority(work).head[:SHORT], work.callers.changes()


def check_live(work: Reading, spki_sha256: str) -> None:
    """Raise `NotAuthenticatedError` for the key of a stopped token or a revoked certificate."""
    token = work.tokens.stopped(spki_sha256)
    if token is not None:
        raise NotAuthenticatedError(
            f"the token {token.serial} is {token.state} and opens nothing",
            next_step="ask a registrar; who found it: keyvault tokens resume",
        )
    if work.issued.is_revoked(spki_sha256):
        raise NotAuthenticatedError(
            "the certificate of this key is revoked", next_step="ask a registrar for the next one"
        )


def identify(vault: Vault, certificate: bytes) -> Principal:
    """Say who presents this certificate (DER). Raises `NotAuthenticatedError`.

    A system's certificate is of the key that was enrolled and signed by the issuer that was; a
    person's was issued by the session CA behind the gate, and its session is still open.
    """
    shown = _shown(certificate)
    if not shown.valid_from <= vault.clock() < shown.valid_until:
        raise NotAuthenticatedError("the client certificate is outside its dates")
    with vault.database.reading() as work:
        authority = vault.authority(work)
        known = shown.key, authority.duties, authority.head[:SHORT], certificate
        system = authority.system_of(shown.key)
        if system is not None:
            check_live(work, shown.key)
            until = _until(vault, system, shown, certificate)
            return Principal(system, until, *known)
        person = _session_holder(authority, certificate, shown)
        check_live(work, shown.credential)
        session = work.sessions.get(shown.key)
        if session is None or was_closed(work, shown.key, person.id, session[1]):
            raise NotAuthenticatedError("this session was closed", next_step="run: keyvault login")
    if session[0] != person.id:
        raise NotAuthenticatedError("this session is somebody else's")
    return Principal(person, min(session[1], shown.valid_until), *known)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a client certificate says, be it believed or not. `key` is its thumbprint."""

    key: str
    person: str
    credential: str
    valid_from: datetime
    valid_until: datetime


@lru_cache(maxsize=4_096)
def _shown(certificate: bytes) -> _Shown:
    """Read a certificate, which comes with each call of its session and stays the same."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        key = thumbprint(signatures.spki_of_certificate(certificate))
    except (ValueError, InvalidInputError) as error:
        raise NotAuthenticatedError("the client certificate cannot be read") from error
    names = _named(parsed, NameOID.COMMON_NAME), _named(parsed, NameOID.SERIAL_NUMBER)
    return _Shown(key, *names, parsed.not_valid_before_utc, parsed.not_valid_after_utc)


def was_closed(work: Reading, spki_sha256: str, person: str, until: datetime) -> bool:
    """Whether the log tells of the session's end, whatever its row says by now."""
    return work.sessions.was_closed(spki_sha256, f"person:{person}", until - LONGEST_SESSION)


def _until(vault: Vault, system: System, shown: _Shown, certificate: bytes) -> datetime:
    pin = system.pin(shown.key, vault.clock())
    if pin is None:
        raise NotAuthenticatedError(
            f"the enrolment of {system.name}, or of this certificate, has ended",
            next_step="ask for the next one: keyvault systems rotate",
        )
    try:
        issuer = x509.load_der_x509_certificate(pin.issuer)
        x509.load_der_x509_certificate(certificate).verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise NotAuthenticatedError("this key is enrolled with another issuer") from error
    return min(shown.valid_until, system.until, pin.until or system.until)


def _session_holder(authority: Authority, certificate: bytes, shown: _Shown) -> Person:
    if not _is_session(certificate, authority.services.session_ca):
        raise NotAuthenticatedError(
            "nobody enrolled this certificate", next_step="ask for its enrolment, or log in"
        )
    person = authority.people.get(shown.person)
    if person is None or not person.credential(shown.credential):
        raise NotAuthenticatedError("the person of this session, or their key, is not enrolled")
    return person


@lru_cache(maxsize=4_096)
def _is_session(certificate: bytes, issuer: bytes) -> bool:
    """Whether the session CA with this key (SPKI) signed it: that does not change either."""
    parsed = x509.load_der_x509_certificate(certificate)
    return signatures.verify(issuer, parsed.signature, parsed.tbs_certificate_bytes)


def _named(certificate: x509.Certificate, kind: x509.ObjectIdentifier) -> str:
    names = certificate.subject.get_attributes_for_oid(kind)
    return str(names[0].value) if names else ""


def challenge(vault: Vault) -> Document:
    """Give what a delegation has to name: the log as it stands, good for five minutes.

    Nobody can know the root before it exists, so nobody can sign for later; and whoever logs in
    has signed what the log looked like.
    """
    with vault.database.reading() as work:
        origin, tree = vault.authority(work).origin, work.audit.head()  # a snapshot starts here
    return {
        "challenge": f"{tree.size}:{tree.root.hex()}",
        "origin": origin,
        "server": vault.settings.site,
    }


def login(vault: Vault, delegation: Document, signature: bytes) -> bytes:
    """Exchange a person's signed delegation for a client certificate (DER) of some hours.

    What fails is for the caller to write down, by `login_failed`: anybody can fail, and often.
    """
    person, until = _check_delegation(vault, delegation, signature)
    certificate = vault.gate.issue_session(delegation, signature)
    _open(vault, delegation, person, until)
    return certificate


def login_failed(vault: Vault, claimed: str, credential: str, reason: str, count: int) -> None:
    """Write down failed logins of one claimed person. The caller bounds how often."""
    payload: Document = {"person": claimed[:63], "credential": credential[:64]}
    more: Document = {"reason": reason, "count": count}
    _about(vault, EventType.AUTH_FAILED, claimed, {**payload, **more})


def locked_out(vault: Vault, identity: str, failures: int, seconds: float, count: int) -> None:
    """Write down that an identity, as `person:alice`, is not heard for a while."""
    payload: Document = {"identity": identity[:80], "failures": failures, "count": count}
    person = identity.removeprefix("person:")
    _about(vault, EventType.AUTH_LOCKED, person, {**payload, "seconds": round(seconds)})


def _about(vault: Vault, kind: EventType, person: str, payload: Document) -> None:
    """Nobody makes streams of their own by inventing names: those are told of in the log's."""
    with vault.database.work() as work:
        known = person in vault.authority(work).people
        stream = f"person:{person}" if known else "log"
        work.commit(AuditEvent(kind, Outcome.REFUSED, uuid4(), stream, "service:api", payload))


def _open(vault: Vault, delegation: Document, person: Person, until: datetime) -> None:
    spki = thumbprint(b64decode(delegation["session_spki"]))
    with vault.database.work() as work:
        work.sessions.open(spki, person.id, until, vault.clock())
        work.tokens.used(str(delegation["credential"]), vault.clock())
        work.commit(_logged_in(delegation))


def _check_delegation(
    vault: Vault, delegation: Document, signature: bytes
) -> tuple[Person, datetime]:
    try:
        claimed, named = str(delegation["person"]), str(delegation["challenge"])
        until, origin = time_of(delegation["not_after"]), delegation["origin"]
    except KeyError as error:
        raise InvalidInputError(f"the delegation lacks {error}") from error
    with vault.database.reading() as work:
        authority = vault.authority(work)
        fresh = is_fresh(work, named, vault.clock())
        check_live(work, str(delegation.get("credential")))
    person = authority.people.get(claimed)
    credential = person.credential(str(delegation.get("credential"))) if person else None
    message = canonical(delegation)
    if not (person and credential and signatures.verify(credential.spki, signature, message)):
        raise NotAuthenticatedError("the signature is not that of a registered person")
    if not fresh or origin != authority.origin:
        raise NotAuthenticatedError(
            "the challenge is not of this log, or older than five minutes", next_step="try again"
        )
    if until > vault.clock() + timedelta(hours=vault.settings.api.session_hours):
        raise InvalidInputError(f"a session lasts {vault.settings.api.session_hours} hours at most")
    return person, until


def is_fresh(work: Reading, named: str, now: datetime) -> bool:
    size_text, _, root = named.partition(":")
    size, head = int(size_text) if size_text.isdecimal() else -1, work.audit.head()
    if not 0 < size <= head.size or head.at(size, work.audit.hashes()).root.hex() != root:
        return False
    return size == head.size or now - work.audit.event(size).time <= CHALLENGE_LIFE


def logout(vault: Vault, who: Principal) -> None:
    """Close the session that calls."""
    with vault.database.work() as work:
        work.sessions.close(who.spki_sha256)
        work.commit(
            AuditEvent(
                EventType.SESSION_CLOSED,
                *(Outcome.OK, uuid4(), who.actor, who.actor),
                payload={"session": who.spki_sha256},
            )
        )


def authority(vault: Vault, who: Principal) -> Authority:
    """Return who may do what: persons, systems, rules."""
    permit(vault, who, Action.PEOPLE_READ)
    with vault.database.reading() as work:
        return vault.authority(work)


def rules(vault: Vault, who: Principal) -> Authority:
    """Return what is in force: rules, key classes, duties and standards."""
    permit(vault, who, Action.AUTHORITY_READ)
    with vault.database.reading() as work:
        return vault.authority(work)


def records(vault: Vault, who: Principal) -> list[Record]:
    """Return the chain of signed authority records, genesis first."""
    permit(vault, who, Action.AUTHORITY_READ)
    with vault.database.reading() as work:
        return work.authority.records()


def _logged_in(delegation: Document) -> AuditEvent:
    who = f"person:{delegation['person']}"
    payload = {name: delegation[name] for name in ("person", "credential")}
    return AuditEvent(EventType.AUTH_OK, Outcome.OK, uuid4(), who, who, payload)
