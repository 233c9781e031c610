"""Authorisation, decided once at the top of every operation by one pure function.

Same question, same answer: the time is an argument, the database is not. Default is no.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keyvault.domain.keys import Key
from keyvault.domain.people import Person, Role, System
from keyvault.domain.scopes import Scope


class Action(StrEnum):
    KEY_ORDER = "key:order"
    KEY_READ = "key:read"
    KEY_CHANGE = "key:change"  # ask for a change that needs approvals
    KEY_SUSPEND = "key:suspend"
    KEY_COMPROMISE = "key:compromise"
    KEY_SIGN = "key:sign"
    KEY_VERIFY = "key:verify"
    KEY_ENCRYPT = "key:encrypt"
    KEY_DECRYPT = "key:decrypt"
    KEY_MAC = "key:mac"
    KEY_DERIVE = "key:derive"
    KEY_WRAP = "key:wrap"
    RANDOM = "random:read"
    REQUEST_READ = "request:read"
    REQUEST_DECIDE = "request:decide"
    REQUEST_EXECUTE = "request:execute"
    REQUEST_CANCEL = "request:cancel"
    PEOPLE_READ = "people:read"
    PEOPLE_CHANGE = "people:change"  # ask for a change of persons or systems
    AUDIT_READ = "audit:read"
    AUDIT_EXPORT = "audit:export"
    METRICS_READ = "metrics:read"
    SERVICE_READ = "service:read"  # why the service is or is not ready


KEY_USES = frozenset(
    {
        Action.KEY_SIGN,
        Action.KEY_VERIFY,
        Action.KEY_ENCRYPT,
        Action.KEY_DECRYPT,
        Action.KEY_MAC,
        Action.KEY_DERIVE,
        Action.KEY_WRAP,
    }
)
# What an enrolment may allow a system: use, and reading, never a step in a key's life.
SYSTEM_ACTIONS = KEY_USES | {Action.KEY_READ, Action.RANDOM, Action.METRICS_READ}
_READ = frozenset({Action.KEY_READ, Action.REQUEST_READ, Action.PEOPLE_READ, Action.SERVICE_READ})
_ASK = _READ | {Action.REQUEST_EXECUTE, Action.REQUEST_CANCEL}

# The permission matrix: what each role may do. Nothing else is allowed to anybody.
PERMISSIONS: dict[Role, frozenset[Action]] = {
    Role.KEY_OWNER: _ASK | {Action.KEY_ORDER, Action.KEY_CHANGE},
    Role.KEY_CUSTODIAN: _ASK | {Action.KEY_CHANGE, Action.KEY_SUSPEND, Action.KEY_COMPROMISE},
    Role.KEY_APPROVER: _READ | {Action.REQUEST_DECIDE, Action.REQUEST_EXECUTE},
    Role.REGISTRAR: _ASK | {Action.PEOPLE_CHANGE},
    Role.INCIDENT_LEAD: _READ | {Action.KEY_SUSPEND, Action.KEY_COMPROMISE},
    Role.AUDITOR: _READ | {Action.AUDIT_READ, Action.AUDIT_EXPORT, Action.METRICS_READ},
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: a person in a session, or an enrolled system. `until` ends the session."""

    subject: Person | System
    until: datetime
    spki_sha256: str

    @property
    def actor(self) -> str:
        return self.subject.actor

    @property
    def id(self) -> str:
        return self.subject.id


@dataclass(frozen=True, slots=True)
class Permit:
    """Yes, and in which role: the event says so."""

    role: str


@dataclass(frozen=True, slots=True)
class Deny:
    reason: str


def decide(
    who: Principal, action: Action, now: datetime, *, key: Key | None = None
) -> Permit | Deny:
    """Say whether `who` may take `action` (on `key`) at `now`."""
    if now >= who.until:
        return Deny("the session or certificate has ended")
    if isinstance(who.subject, System):
        return _decide_system(who.subject, action, key)
    for role in sorted(who.subject.roles):
        if action in PERMISSIONS[role]:
            return Permit(str(role))
    return Deny(f"none of the roles of {who.subject.name} allows {action}")


def _decide_system(system: System, action: Action, key: Key | None) -> Permit | Deny:
    if action not in SYSTEM_ACTIONS or str(action) not in system.actions:
        return Deny(f"the enrolment of {system.name} does not allow {action}")
    if key is not None and not system.may_use(str(key.id), key.scope):
        return Deny(f"the enrolment of {system.name} does not name this key")
    return Permit("api-client")


def readable_scope(who: Principal) -> Scope | None:
    """The one scope whose records `who` may list, or None for all of them."""
    return who.subject.scope if isinstance(who.subject, System) else None
