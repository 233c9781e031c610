"""Persons, systems, sessions and the authority chain on the wire."""

from datetime import datetime
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field

from api.rest.schemas.common import (
    Bytes,
    Hex64,
    InstantText,
    Moment,
    Name,
    ScopeOut,
    Signature,
    Wire,
    base64_schema,
)
from api.rest.schemas.requests import OpenDocument
from keyvault.domain.access import Principal
from keyvault.domain.authority import Authority
from keyvault.domain.documents import document_of
from keyvault.domain.people import (
    EVERYWHERE,
    Assurance,
    Duty,
    Grant,
    Person,
    Role,
    System,
    Vetting,
)
from keyvault.domain.scopes import Scope
from keyvault.domain.standing import Lapse, Reach, lapses


class LapseOut(Wire):
    """Why a right does not count now, since when, and what to do about it."""

    code: str
    text: str
    since: Moment | None
    next_step: str

    @classmethod
    def of(cls, lapse: Lapse) -> "LapseOut":
        return cls(code=lapse.code, text=lapse.text, since=lapse.since, next_step=lapse.next_step)


class GrantOut(Wire):
    """A role, where and until when it is granted, and what keeps it from counting now."""

    role: Role
    scope: str
    until: str
    lapses: list[LapseOut]


class CredentialOut(Wire):
    thumbprint: Hex64
    public_key: Bytes
    assurance: Assurance
    login_only: bool


class ScreeningOut(Wire):
    standard: str
    vetting: Vetting
    reference: str
    reviewed_on: str
    due: str


class PersonOut(Wire):
    """A person, what they were granted, and what of it counts now."""

    id: str
    name: str
    organisation: str
    site: str
    manager: str | None
    roles: list[Role] = Field(description="Those that count now, somewhere")
    grants: list[GrantOut]
    credentials: list[CredentialOut]
    screening: ScreeningOut
    acknowledged: dict[str, int]
    on_hold: str | None

    @classmethod
    def of(cls, person: Person, duties: tuple[Duty, ...], now: datetime) -> "PersonOut":
        grants = [_grant(person, grant, duties, now) for grant in person.grants]
        held = person.hold is not None and person.hold.binds(now)
        return cls(
            id=person.id,
            name=person.name,
            organisation=person.organisation,
            site=person.site,
            manager=person.manager,
            roles=sorted({grant.role for grant in grants if not grant.lapses}),
            grants=grants,
            credentials=[
                CredentialOut(
                    thumbprint=one.thumbprint,
                    public_key=one.spki,
                    assurance=one.assurance,
                    login_only=one.login_only,
                )
                for one in person.credentials
            ],
            screening=ScreeningOut.model_validate(document_of(person.screening)),
            acknowledged=dict(person.acknowledged),
            on_hold=person.hold.reason if person.hold and held else None,
        )


def _grant(person: Person, grant: Grant, duties: tuple[Duty, ...], now: datetime) -> GrantOut:
    where = Reach.ALL if grant.scope == EVERYWHERE else Scope.parse(grant.scope)
    found = lapses(person, duties, grant.role, where, now)
    return GrantOut(
        role=grant.role,
        scope=grant.scope,
        until=grant.until,
        lapses=[LapseOut.of(lapse) for lapse in found],
    )


class PinOut(Wire):
    """A certificate that was enrolled, as SHA-256 of the whole and of its key and issuer."""

    certificate_sha256: Hex64
    credential: Hex64
    issuer_sha256: Hex64
    until: Moment | None


class SystemOut(Wire):
    id: str
    name: str
    scope: ScopeOut
    pins: list[PinOut]
    actions: list[str]
    keys: list[str]
    until: Moment

    @classmethod
    def of(cls, system: System) -> "SystemOut":
        return cls(
            id=system.id,
            name=system.name,
            scope=ScopeOut.of(system.scope),
            pins=[
                PinOut(
                    certificate_sha256=sha256(pin.certificate).hexdigest(),
                    credential=pin.spki_sha256,
                    issuer_sha256=sha256(pin.issuer).hexdigest(),
                    until=pin.until,
                )
                for pin in system.pins
            ],
            actions=sorted(system.actions),
            keys=sorted(system.keys),
            until=system.until,
        )


class PeopleOut(Wire):
    items: list[PersonOut]


class SystemsOut(Wire):
    items: list[SystemOut]


class RecordsOut(Wire):
    """The authority chain, genesis first: anybody can check it from the first record's hash."""

    items: list[OpenDocument]


class WhoOut(Wire):
    """Who calls, as this service sees it."""

    actor: str
    id: str
    kind: Literal["person", "system"]
    name: str
    roles: list[Role]
    grants: list[GrantOut]
    acknowledged: dict[str, int] = Field(description="Duties and the version acknowledged last")
    actions: list[str]
    scope: ScopeOut | None
    until: Moment

    @classmethod
    def of(cls, who: Principal, now: datetime) -> "WhoOut":
        """Persons have roles (those that count now), systems have actions and a scope."""
        subject = who.subject
        is_system = isinstance(subject, System)
        grants = (
            [] if isinstance(subject, System) else PersonOut.of(subject, who.duties, now).grants
        )
        return cls(
            actor=who.actor,
            id=who.id,
            kind="system" if is_system else "person",
            name=subject.name,
            roles=sorted({grant.role for grant in grants if not grant.lapses}),
            grants=grants,
            acknowledged={} if isinstance(subject, System) else dict(subject.acknowledged),
            actions=sorted(subject.actions) if isinstance(subject, System) else [],
            scope=ScopeOut.of(subject.scope) if isinstance(subject, System) else None,
            until=who.until,
        )


class ChallengeOut(Wire):
    """To be signed within minutes, once."""

    challenge: str
    origin: str
    server: str


class DelegationIn(Wire):
    """A person lets a short-lived key speak for them; docs/formats.md has the signed bytes."""

    ctx: Literal["keyvault-login-v1"]
    origin: Annotated[str, Field(min_length=1, max_length=200)]
    person: Name
    credential: Hex64
    session_spki: Annotated[str, base64_schema(1, 198)]
    challenge: Annotated[str, Field(min_length=1, max_length=200)]
    issued_at: InstantText
    not_after: InstantText


class SessionIn(Wire):
    delegation: DelegationIn
    signature: Signature


class SessionOut(Wire):
    """A client certificate; mutual TLS with it is the session."""

    certificate: str = Field(description="PEM")
    not_after: Moment


class RulesOut(Wire):
    """What is in force: who must sign for what, and what people must have acknowledged."""

    rules: list[OpenDocument]
    key_classes: list[OpenDocument]
    duties: list[OpenDocument]
    standards: list[OpenDocument]

    @classmethod
    def of(cls, authority: Authority) -> "RulesOut":
        return cls(
            rules=[document_of(rule) for rule in authority.rules],
            key_classes=[document_of(one) for one in authority.key_classes.values()],
            duties=[document_of(duty) for duty in authority.duties],
            standards=[document_of(standard) for standard in authority.standards],
        )
