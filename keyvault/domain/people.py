"""Persons, systems and what authority says of them."""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

from keyvault.domain.errors import InvalidInputError
from keyvault.domain.scopes import Scope

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Role(StrEnum):
    KEY_OWNER = "key-owner"
    KEY_CUSTODIAN = "key-custodian"
    KEY_APPROVER = "key-approver"
    REGISTRAR = "registrar"
    INCIDENT_LEAD = "incident-lead"
    AUDITOR = "auditor"


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
class Person:
    """A human being, counted once however many credentials they hold."""

    id: str
    name: str
    roles: frozenset[Role]
    spki: bytes

    def __post_init__(self) -> None:
        check_id(self.id)

    @property
    def actor(self) -> str:
        return f"person:{self.id}"


@dataclass(frozen=True, slots=True)
class System:
    """A DCC system: one pinned certificate, one scope, named actions on named keys."""

    id: str
    name: str
    scope: Scope
    certificate: bytes
    spki_sha256: str
    actions: frozenset[str]
    keys: frozenset[str]

    @property
    def actor(self) -> str:
        return f"system:{self.id}"

    def may_use(self, key_id: str, scope: Scope) -> bool:
        return scope == self.scope and ("*" in self.keys or key_id in self.keys)
