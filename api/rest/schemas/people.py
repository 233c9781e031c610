"""Persons, systems, sessions and the authority chain on the wire."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from api.rest.schemas.common import (
    UUID_PATTERN,
    Blob,
    Bytes,
    Hex64,
    InstantText,
    Moment,
    Name,
    ScopeIn,
    ScopeOut,
    Signature,
    Text,
    Wire,
    base64_schema,
)
from api.rest.schemas.requests import OpenDocument
from keyvault.domain.access import SYSTEM_ACTIONS, Principal
from keyvault.domain.commands import LIST_LIMIT
from keyvault.domain.people import Person, Role, System

_ACTIONS = {"enum": sorted(map(str, SYSTEM_ACTIONS))}
KeyName = Annotated[str, StringConstraints(pattern=f"{UUID_PATTERN}|^\\*$")]


class PersonIn(Wire):
    """A person to register, with the key (P-256 SPKI in DER) that signs for them."""

    person: Name
    full_name: Text
    roles: Annotated[list[Role], Field(min_length=1, json_schema_extra={"uniqueItems": True})]
    public_key: Blob


class SystemIn(Wire):
    """A DCC system to enrol: one pinned certificate, one scope, named actions on named keys."""

    system: Name
    full_name: Text
    scope: ScopeIn
    certificate: Annotated[str, Field(min_length=64, max_length=20_000, description="PEM")]
    actions: Annotated[
        list[Annotated[str, Field(json_schema_extra=_ACTIONS)]],
        Field(min_length=1, max_length=32, json_schema_extra={"uniqueItems": True}),
    ]
    keys: Annotated[
        list[KeyName],
        Field(
            min_length=1,
            max_length=LIST_LIMIT,
            json_schema_extra={"uniqueItems": True},
            description='Key ids, or ["*"] for every key of the scope',
        ),
    ]


class PersonOut(Wire):
    id: str
    name: str
    roles: list[Role]
    public_key: Bytes
    credential: Hex64

    @classmethod
    def of(cls, person: Person, credential: str) -> "PersonOut":
        return cls(
            id=person.id,
            name=person.name,
            roles=sorted(person.roles),
            public_key=person.spki,
            credential=credential,
        )


class SystemOut(Wire):
    id: str
    name: str
    scope: ScopeOut
    certificate_sha256: Hex64
    credential: Hex64
    actions: list[str]
    keys: list[str]

    @classmethod
    def of(cls, system: System, certificate_sha256: str) -> "SystemOut":
        return cls(
            id=system.id,
            name=system.name,
            scope=ScopeOut.of(system.scope),
            certificate_sha256=certificate_sha256,
            credential=system.spki_sha256,
            actions=sorted(system.actions),
            keys=sorted(system.keys),
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
    actions: list[str]
    scope: ScopeOut | None
    until: Moment

    @classmethod
    def of(cls, who: Principal) -> "WhoOut":
        """Persons have roles, systems have actions and a scope."""
        subject = who.subject
        is_system = isinstance(subject, System)
        return cls(
            actor=who.actor,
            id=who.id,
            kind="system" if is_system else "person",
            name=subject.name,
            roles=[] if isinstance(subject, System) else sorted(subject.roles),
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
