"""Persons and systems, and what authority holds of them."""

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from keyvault.domain.errors import InvalidInputError
from keyvault.domain.scopes import Scope
from keyvault.domain.times import day_after, day_of, time_of

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
EVERYWHERE = "*"
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
SPKI_SIZE = 91  # bytes
MAX_SCREENING = timedelta(days=366)  # clearance is reviewed every year


class Role(StrEnum):
    """Who does what in the keeping of keys and tokens; `access.PERMISSIONS` says it exactly."""

    KEY_OWNER = "key-owner"
    KEY_CUSTODIAN = "key-custodian"
    KEY_APPROVER = "key-approver"
    HSM_SECURITY_OFFICER = "hsm-security-officer"
    REGISTRAR = "registrar"
    TOKEN_ISSUER = "token-issuer"  # noqa: S105  (a role, not a secret)
    SENIOR_RESPONSIBLE_OFFICER = "senior-responsible-officer"
    TOKEN_HOLDER = "token-holder"  # noqa: S105  (a role, not a secret)
    SYSTEM_ADMINISTRATOR = "system-administrator"
    INCIDENT_LEAD = "incident-lead"
    AUDITOR = "auditor"
    CEREMONY_ADMINISTRATOR = "ceremony-administrator"
    WITNESS = "witness"


class Assurance(StrEnum):
    """How well a person's private key is kept."""

    SOFTWARE = "software"  # a file, encrypted under a passphrase
    CARD = "card"  # made on a card that counts wrong PINs and never gives it out

    def meets(self, needed: "Assurance") -> bool:
        return needed is Assurance.SOFTWARE or self is Assurance.CARD


class Vetting(StrEnum):
    """How deeply a person was screened."""

    BASELINE = "baseline"
    ENHANCED = "enhanced"

    def meets(self, needed: "Vetting") -> bool:
        return needed is Vetting.BASELINE or self is Vetting.ENHANCED


def check_id(text: str) -> str:
    """Return `text` if it can be the id of a person or system. Raises `InvalidInputError`."""
    if not _ID.fullmatch(text):
        raise InvalidInputError(
            "an id is 1 to 63 lower-case letters, digits or -, first a letter or digit"
        )
    return text


def thumbprint(spki: bytes) -> str:
    """Name a public key: SHA-256 of its SubjectPublicKeyInfo, in hex."""
    return hashlib.sha256(spki).hexdigest()


@dataclass(frozen=True, slots=True)
class Credential:
    """A public key (SPKI, DER) whose private half signs for a person.

    One that is `login_only` opens sessions, and decides nothing.
    """

    spki: bytes
    assurance: Assurance
    login_only: bool = False

    def __post_init__(self) -> None:
        # There is one encoding of each key, so that nobody is two people with one.
        if len(self.spki) != SPKI_SIZE or not self.spki.startswith(_P256):
            raise InvalidInputError(
                "a person's key is a P-256 key with an uncompressed point, as SPKI in DER",
                next_step="make a credential: keyvault credential create",
            )

    @property
    def thumbprint(self) -> str:
        return thumbprint(self.spki)


@dataclass(frozen=True, slots=True)
class Screening:
    """One review of a person: against which edition of which standard, and until which day.

    `reviewed_on` and `due` are days. Rights lapse when the day `due` is over, in UTC.
    """

    standard: str
    vetting: Vetting
    reference: str
    reviewed_on: str
    due: str

    def __post_init__(self) -> None:
        length = day_of(self.due) - day_of(self.reviewed_on)
        if not timedelta(0) < length <= MAX_SCREENING:
            raise InvalidInputError(
                f"a screening is due 1 to {MAX_SCREENING.days} days after its review",
                next_step="people are reviewed every year",
            )

    @property
    def lapses_at(self) -> datetime:
        return day_after(self.due)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role for one scope (`party/user-role/user-id`, or * for every one) until a time."""

    role: Role
    scope: str
    until: str

    def __post_init__(self) -> None:
        time_of(self.until)
        if self.scope != EVERYWHERE:
            Scope.parse(self.scope)

    def overlaps(self, other: "Grant") -> bool:
        return EVERYWHERE in (self.scope, other.scope) or self.scope == other.scope


@dataclass(frozen=True, slots=True)
class Duty:
    """A policy or training that holders of `roles` have to acknowledge, each version anew.

    `sha256` is that of the text. `since` is the day from which who did not may not act.
    """

    name: str
    version: int
    sha256: str
    roles: tuple[Role, ...]
    since: str

    def __post_init__(self) -> None:
        check_id(self.name)
        day_of(self.since)
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256) or self.version < 1:
            raise InvalidInputError("a duty has a version from 1 on and the SHA-256 of its text")


@dataclass(frozen=True, slots=True)
class Hold:
    """Somebody's rights are stopped, until a time or, with None, until they are reinstated.

    It binds as soon as it is on record, whatever another node's clock says, and what its person
    signed before it does not count after it either.
    """

    reason: str
    since: datetime
    until: datetime | None = None

    def binds(self, at: datetime) -> bool:
        return self.until is None or at < self.until


@dataclass(frozen=True, slots=True)
class Person:
    """A human being, counted once however many credentials they hold."""

    id: str
    name: str
    organisation: str
    site: str
    manager: str | None  # the id of who they report to, registered here or not
    credentials: tuple[Credential, ...]
    grants: tuple[Grant, ...]
    screening: Screening
    acknowledged: tuple[tuple[str, int], ...] = ()  # duties and the version last acknowledged
    hold: Hold | None = None

    def __post_init__(self) -> None:
        check_id(self.id)

    @property
    def actor(self) -> str:
        return f"person:{self.id}"

    @property
    def roles(self) -> frozenset[Role]:
        """What was granted anywhere and at any time; whether it counts, `standing` says."""
        return frozenset(grant.role for grant in self.grants)

    @property
    def deciding(self) -> tuple[Credential, ...]:
        """The keys whose signatures can count for an approval, a genesis or a record."""
        return tuple(one for one in self.credentials if not one.login_only)

    def credential(self, name: str) -> Credential | None:
        """The enrolled key with this thumbprint."""
        return next((one for one in self.credentials if one.thumbprint == name), None)

    def decides_with(self, name: str) -> Credential | None:
        """The enrolled key with this thumbprint, if its signatures decide."""
        return next((one for one in self.deciding if one.thumbprint == name), None)

    def acknowledges(self, duty: str, version: int) -> "Person":
        others = tuple(item for item in self.acknowledged if item[0] != duty)
        return replace(self, acknowledged=(*others, (duty, version)))


@dataclass(frozen=True, slots=True)
class Pin:
    """What makes a client certificate that of a system: its key, and who issued it.

    `certificate` is the one that was enrolled, `issuer` that of who signed it, both in DER.
    """

    spki_sha256: str
    certificate: bytes
    issuer: bytes
    until: datetime | None = None  # of the older one, while two overlap


@dataclass(frozen=True, slots=True)
class System:
    """A DCC system: pinned certificates, one scope, named actions on named keys, an end."""

    id: str
    name: str
    scope: Scope
    pins: tuple[Pin, ...]
    actions: frozenset[str]
    keys: frozenset[str]
    until: datetime

    @property
    def actor(self) -> str:
        return f"system:{self.id}"

    def pin(self, spki_sha256: str, at: datetime) -> Pin | None:
        """The pin of this key, if it counts at `at`."""
        return next(
            (
                pin
                for pin in self.pins
                if pin.spki_sha256 == spki_sha256
                and at < self.until
                and (pin.until is None or at < pin.until)
            ),
            None,
        )

    def may_use(self, key_id: str, scope: Scope) -> bool:
        return scope == self.scope and ("*" in self.keys or key_id in self.keys)
