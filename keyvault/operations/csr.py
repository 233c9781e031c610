"""Certification requests of our keys: one or many, each signed behind the gate by its key."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from uuid import UUID, uuid4

from hsm.types import WrappedKey
from keyvault import signatures
from keyvault.domain import csr, x509
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.certificates import Certificate, CertificateState, Kind
from keyvault.domain.csr import Csr
from keyvault.domain.errors import (
    CertificatePendingError,
    CertificateStateError,
    CsrRefusedError,
    InterfaceTakenError,
    InvalidInputError,
    KeyStateError,
    NotFoundError,
    VaultError,
)
from keyvault.domain.keys import Key, KeyState
from keyvault.domain.people import thumbprint
from keyvault.domain.profiles import PROFILES, Profile, ProfileName
from keyvault.operations.certificates import CHUNK, event, permit_in
from keyvault.operations.vault import Once, Vault, key_event, recall, remember
from keyvault.store.unit_of_work import Reading, Work

GATE_CHUNK = 32  # requests in one call of the gate, so that signatures of others come between
_MAY_ASK = (KeyState.PRE_ACTIVE, KeyState.ACTIVE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request for one key; interface and system's name for IKI client certificates."""

    key: UUID
    interface: str = ""
    system: str = ""


class Status(StrEnum):
    """How it went with one of many."""

    SUCCESS = "success"
    ERROR = "error"  # the device or the service failed; try again
    ANOMALY = "anomaly"  # what the device made is not what it was asked for
    INELIGIBLE = "ineligible"  # the key's record does not allow such a request


@dataclass(frozen=True, slots=True)
class Built:
    """What came of one: its certificate, or why there is none."""

    key: UUID
    status: Status
    certificate: Certificate | None = None
    code: str = ""
    detail: str = ""

    def document(self) -> Document:
        certificate = None if self.certificate is None else str(self.certificate.id)
        return {
            "key": str(self.key),
            "status": str(self.status),
            "certificate": certificate,
            "code": self.code,
            "detail": self.detail,
        }


def build(
    vault: Vault,
    who: Principal,
    profile: ProfileName,
    wanted: Sequence[Wanted],
    batch: UUID | None = None,
    once: Once | None = None,
) -> list[Built]:
    """Make up to 200 requests, in this order. One that cannot be made does not stop the others."""
    _check_asked(profile, wanted)
    with vault.database.reading() as work:
        scopes = {key.scope for key, _ in work.keys.some([each.key for each in wanted]).values()}
    role = permit_in(vault, who, Action.CERTIFICATE_REQUEST, scopes)
    with vault.database.reading() as work:
        if earlier := recall(work, who, once):
            return _recalled(work, earlier)
        plan = dict(_planned(vault, work, PROFILES[profile], wanted))
    made = dict(_signed(vault, PROFILES[profile], batch, plan))
    with vault.database.work() as work:
        if earlier := recall(work, who, once):
            return _recalled(work, earlier)
        built = [_added(work, each, made[each.key]) for each in wanted]
        if events := list(_events(who, role, plan, built)):
            remember(work, who, once, {"items": [each.document() for each in built]})
            work.commit(events[0], *events[1:])
    return built


def _check_asked(profile: ProfileName, wanted: Sequence[Wanted]) -> None:
    if not 0 < len(wanted) <= CHUNK or len({each.key for each in wanted}) != len(wanted):
        raise InvalidInputError(f"ask for 1 to {CHUNK} keys, each once")
    for_interface = profile is ProfileName.IKI_CLIENT
    if any(bool(w.interface and w.system) is not for_interface for w in wanted):
        raise InvalidInputError(
            "interface and system go with the profile iki-client, and only with it",
            next_step="name both for each key, or neither",
        )


Plan = tuple[Wanted, Key, WrappedKey | None]


def _planned(
    vault: Vault, work: Reading, profile: Profile, wanted: Sequence[Wanted]
) -> Iterator[tuple[UUID, Plan | Built]]:
    ids = [each.key for each in wanted]
    keys, pending = work.keys.some(ids), work.certificates.open_of(ids)
    for each in wanted:
        try:
            if each.key not in keys:
                raise NotFoundError(f"there is no key {each.key}")
            _check(vault, keys[each.key][0], profile, pending.get(each.key))
            yield each.key, (each, *keys[each.key])
        except VaultError as error:
            yield each.key, _refused(each.key, error)


def _check(vault: Vault, key: Key, profile: Profile, pending: Certificate | None) -> None:
    if key.algorithm is not profile.algorithm:
        raise CsrRefusedError(f"{profile.name} is for {profile.algorithm} keys")
    if key.usage not in profile.usages:
        raise CsrRefusedError(f"{profile.name} is not for keys to {key.usage}")
    if key.state not in _MAY_ASK:
        raise KeyStateError(f"the key is {key.state}")
    if vault.clock() >= key.protect_until:
        raise KeyStateError("the key's period to protect has ended: order a successor")
    if pending is not None:
        raise CertificatePendingError(f"its request {pending.id} is {pending.state}")


def _signed(
    vault: Vault, profile: Profile, batch: UUID | None, plan: dict[UUID, Plan | Built]
) -> Iterator[tuple[UUID, Built]]:
    ready = [each for each in plan.values() if not isinstance(each, Built)]
    yield from ((each.key, each) for each in plan.values() if isinstance(each, Built))
    for at in range(0, len(ready), GATE_CHUNK):
        chunk = ready[at : at + GATE_CHUNK]
        answers = vault.gate.certification_requests([_item(profile, *each) for each in chunk])
        for (wanted, key, _), answer in zip(chunk, answers, strict=True):
            yield key.id, _judged(vault, profile, batch, wanted, key, answer)


def _item(profile: Profile, wanted: Wanted, key: Key, wrapped: WrappedKey | None) -> Document:
    return {
        "key_id": key.id.bytes,
        "profile": str(profile.name),
        "interface": wanted.interface,
        "system": wanted.system,
        "wrapped": wrapped,
    }


def _judged(
    vault: Vault, profile: Profile, batch: UUID | None, wanted: Wanted, key: Key, answer: Document
) -> Built:
    if "csr" not in answer:
        ineligible = answer["code"] == CsrRefusedError.code
        status = Status.INELIGIBLE if ineligible else Status.ERROR
        return Built(key.id, status, None, answer["code"], answer["message"])
    report = csr.lint(answer["csr"], signatures.verify_x509, profile)
    if report.csr is None or report.violations or report.csr.spki != key.public_key:
        detail = "; ".join(map(str, report.violations)) or "it is for another key"
        return Built(key.id, Status.ANOMALY, None, CsrRefusedError.code, detail)
    certificate = _new(vault, profile, wanted, key, report.csr)
    return Built(key.id, Status.SUCCESS, replace(certificate, batch=batch))


def _new(vault: Vault, profile: Profile, wanted: Wanted, key: Key, request: Csr) -> Certificate:
    return Certificate(
        id=uuid4(),
        kind=Kind.OWN,
        state=CertificateState.CSR_BUILT,
        version=1,
        created_at=vault.clock(),
        spki_sha256=thumbprint(key.public_key),
        subject=x509.name_text(request.subject),
        scope=key.scope,
        key=key.id,
        profile=str(profile.name),
        interface=wanted.interface,
        system=wanted.system,
        csr=request.data,
    )


def _added(work: Work, wanted: Wanted, built: Built) -> Built:
    if built.certificate is None:
        return built
    try:
        _claim(work, wanted, built.certificate)
        if not work.certificates.add(built.certificate):
            raise CertificatePendingError("another request of the key was made meanwhile")
    except VaultError as error:
        return _refused(built.key, error)
    return built


def _claim(work: Work, wanted: Wanted, made: Certificate) -> None:
    if not wanted.interface or made.scope is None:
        return
    subjects = f"key:{made.key}", f"system:{wanted.system.lower()}"
    if not work.certificates.claim(subjects, made.scope, wanted.interface):
        raise InterfaceTakenError(
            f"the key, or the name {wanted.system}, serves another interface or scope already"
        )


def _refused(key: UUID, error: VaultError) -> Built:
    return Built(key, Status.INELIGIBLE, None, error.code, str(error))


def _recalled(work: Reading, earlier: Document) -> list[Built]:
    ids = [UUID(each["certificate"]) for each in earlier["items"] if each["certificate"]]
    found = work.certificates.known(ids)
    return [
        Built(
            UUID(each["key"]),
            Status(each["status"]),
            found[UUID(each["certificate"])] if each["certificate"] else None,
            each["code"],
            each["detail"],
        )
        for each in earlier["items"]
    ]


def _events(
    who: Principal, role: str, plan: dict[UUID, Plan | Built], built: list[Built]
) -> Iterator[AuditEvent]:
    for each in built:
        planned = plan[each.key]
        if each.certificate is not None:
            yield event(EventType.CSR_BUILT, who.actor, role, each.certificate, _said(each))
        elif not isinstance(planned, Built):
            yield _failed(who, role, planned[1], each)


def _said(built: Built) -> Document:
    one = built.certificate
    if one is None:
        raise CertificateStateError("there is no request")
    said: Document = {"profile": one.profile, "subject": one.subject}
    more = {"interface": one.interface, "system": one.system, "batch": str(one.batch or "")}
    said |= {name: value for name, value in more.items() if value}
    return {**said, "csr_sha256": sha256(one.csr).hexdigest()}


def _failed(who: Principal, role: str, key: Key, built: Built) -> AuditEvent:
    """Write down a request that the gate was asked for, and that is not there."""
    refused = built.status is Status.INELIGIBLE
    outcome = Outcome.REFUSED if refused else Outcome.FAIL
    told = {"code": built.code, "reason": built.detail}
    return key_event(EventType.CSR_BUILT, who.actor, role, key, told, outcome)
