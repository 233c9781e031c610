"""Authorisation, decided once at the top of every operation by one pure function.

Same question, same answer: the time is an argument, the database is not. Default is no.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keyvault.domain.commands import (
    PEOPLE_COMMANDS,
    RULE_COMMANDS,
    AcknowledgeDuty,
    Command,
    ErasePayload,
    GenerateKey,
    HoldPerson,
    ImportComponents,
    ImportEnvelope,
    ImportKey,
    LiftLogHold,
    PurgePayloads,
    RevokeSystem,
)
from keyvault.domain.keys import Key
from keyvault.domain.people import EVERYWHERE, Duty, Person, Role, System
from keyvault.domain.scopes import Scope
from keyvault.domain.standing import ASK_REGISTRAR, SCREENING_DUE, Lapse, Reach, Where, lapses


class Action(StrEnum):
    KEY_ORDER = "key:order"
    KEY_READ = "key:read"
    KEY_CHANGE = "key:change"  # ask for a change that needs approvals
    KEY_SUSPEND = "key:suspend"
    KEY_COMPROMISE = "key:compromise"
    KEY_RECORD = "key:record"  # what people did with a key: labelled, distributed, installed
    KEY_RECONCILE = "key:reconcile"  # hold the register against the tokens, and sign what differs
    KEY_CARRY = "key:carry"  # bring, or collect, what a handover names one for, and end it
    KEY_HOLD = "key:hold"  # keep it from being destroyed
    KEY_SIGN = "key:sign"
    KEY_VERIFY = "key:verify"
    KEY_ENCRYPT = "key:encrypt"
    KEY_DECRYPT = "key:decrypt"
    KEY_MAC = "key:mac"
    KEY_DERIVE = "key:derive"
    KEY_WRAP = "key:wrap"
    CERTIFICATE_REQUEST = "certificate:request"
    CERTIFICATE_RECORD = "certificate:record"  # what was sent, came back, was accepted or refused
    TOKEN_READ = "token:read"  # noqa: S105  (an action, not a secret)
    TOKEN_OWN = "token:own"  # noqa: S105  (receive, activate, give back, and report any as lost)
    TOKEN_NOMINATE = "token:nominate"  # noqa: S105  (name who is to have one)
    TOKEN_VET = "token:vet"  # noqa: S105  (allocate, hand out, let go on, revoke)
    TOKEN_ISSUE = "token:issue"  # noqa: S105  (keep the stock, personalise, send, destroy)
    TOKEN_WITNESS = "token:witness"  # noqa: S105  (sign as the second, count the stock)
    TRACE_READ = "trace:read"  # what went to a token and came back, masked
    TOKEN_SUSPEND = "token:suspend"  # noqa: S105  (stop one)
    CERTIFICATE_ISSUE = "certificate:issue"  # by our own CA
    CEREMONY_HOLD = "ceremony:hold"  # begin one and hand in its transcript
    CEREMONY_READ = "ceremony:read"
    RANDOM = "random:read"
    REQUEST_READ = "request:read"
    REQUEST_DECIDE = "request:decide"
    REQUEST_EXECUTE = "request:execute"
    REQUEST_CANCEL = "request:cancel"
    AUTHORITY_READ = "authority:read"  # the signed chain, the rules, and proofs of the log
    PEOPLE_READ = "people:read"
    PEOPLE_CHANGE = "people:change"  # ask for a change of persons or systems
    PEOPLE_HOLD = "people:hold"
    SYSTEM_REVOKE = "system:revoke"
    RULE_CHANGE = "rule:change"  # ask for a change of rules, classes, duties, standards
    DUTY_ACKNOWLEDGE = "duty:acknowledge"
    REGISTER_EXPORT = "register:export"  # the asset registers, as files
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
# What every registered person may do for themselves, whatever has lapsed. Who signs checks the log
# and the rules first, so these are among it: nobody could acknowledge a duty otherwise.
OWN_ACTIONS = frozenset(
    {Action.DUTY_ACKNOWLEDGE, Action.AUTHORITY_READ, Action.SERVICE_READ, Action.TOKEN_OWN}
)
_READ = frozenset(
    {
        *(Action.KEY_READ, Action.REQUEST_READ, Action.PEOPLE_READ, Action.TOKEN_READ),
        Action.CEREMONY_READ,
    }
)
_TOKEN_SECURITY = frozenset({Action.TOKEN_SUSPEND, Action.TOKEN_WITNESS})
_ASK = _READ | {Action.REQUEST_EXECUTE, Action.REQUEST_CANCEL}
_STOP = frozenset({Action.PEOPLE_HOLD, Action.SYSTEM_REVOKE, Action.REQUEST_DECIDE})

# The permission matrix: what each role may do. Nothing else is allowed to anybody.
PERMISSIONS: dict[Role, frozenset[Action]] = {
    Role.KEY_OWNER: _ASK
    | {Action.KEY_ORDER, Action.KEY_CHANGE, Action.KEY_RECORD, Action.REGISTER_EXPORT},
    Role.KEY_CUSTODIAN: _ASK
    | _STOP
    | {Action.KEY_CHANGE, Action.KEY_SUSPEND, Action.KEY_COMPROMISE}
    | {Action.KEY_CARRY, Action.CEREMONY_HOLD}
    | {Action.KEY_RECORD, Action.KEY_HOLD, Action.KEY_RECONCILE, Action.REGISTER_EXPORT}
    | _TOKEN_SECURITY
    | {Action.CERTIFICATE_REQUEST, Action.CERTIFICATE_RECORD},
    Role.KEY_APPROVER: _READ | _STOP | {Action.REQUEST_EXECUTE, Action.REQUEST_CANCEL},
    Role.HSM_SECURITY_OFFICER: _READ
    | {Action.METRICS_READ, Action.TOKEN_WITNESS, Action.KEY_RECONCILE},
    Role.REGISTRAR: _ASK
    | _STOP
    | {Action.PEOPLE_CHANGE, Action.RULE_CHANGE}
    | {Action.TOKEN_VET, Action.TOKEN_SUSPEND, Action.CERTIFICATE_ISSUE},
    Role.TOKEN_ISSUER: _READ | {Action.TOKEN_ISSUE, Action.TOKEN_SUSPEND, Action.TRACE_READ},
    Role.SENIOR_RESPONSIBLE_OFFICER: _ASK
    | _STOP
    | {Action.PEOPLE_CHANGE, Action.KEY_HOLD, Action.TOKEN_NOMINATE, Action.TOKEN_SUSPEND},
    Role.TOKEN_HOLDER: frozenset(),
    Role.SYSTEM_ADMINISTRATOR: frozenset({Action.METRICS_READ}),
    Role.INCIDENT_LEAD: _ASK
    | _STOP
    | _TOKEN_SECURITY
    | {Action.KEY_SUSPEND, Action.KEY_COMPROMISE, Action.KEY_HOLD},
    Role.AUDITOR: _READ
    | {Action.REGISTER_EXPORT, Action.TRACE_READ}
    | {Action.AUDIT_READ, Action.AUDIT_EXPORT, Action.METRICS_READ},
    Role.CEREMONY_ADMINISTRATOR: _READ | {Action.CEREMONY_HOLD},
    Role.WITNESS: _READ | {Action.TOKEN_WITNESS},
}
_ASKING: dict[type[Command], Action] = {
    GenerateKey: Action.KEY_ORDER,
    ImportKey: Action.KEY_ORDER,
    ImportComponents: Action.KEY_ORDER,
    ImportEnvelope: Action.KEY_ORDER,
    **dict.fromkeys(PEOPLE_COMMANDS, Action.PEOPLE_CHANGE),
    **dict.fromkeys(RULE_COMMANDS, Action.RULE_CHANGE),
    HoldPerson: Action.PEOPLE_HOLD,
    RevokeSystem: Action.SYSTEM_REVOKE,
    AcknowledgeDuty: Action.DUTY_ACKNOWLEDGE,
    ErasePayload: Action.PEOPLE_CHANGE,
    PurgePayloads: Action.PEOPLE_CHANGE,
    LiftLogHold: Action.PEOPLE_CHANGE,
}


def asking(command: type[Command]) -> Action:
    """The action that whoever asks for such a command must be permitted."""
    return _ASKING.get(command, Action.KEY_CHANGE)


def roles_for(action: Action) -> tuple[Role, ...]:
    return tuple(role for role in Role if action in PERMISSIONS[role])


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: a person in a session, or an enrolled system. `until` ends the session.

    `duties` are those in force: what a person has to have acknowledged. `authority` is the short
    hash of the record that this was found out under, and `certificate` (DER) asks again.
    """

    subject: Person | System
    until: datetime
    spki_sha256: str
    duties: tuple[Duty, ...] = ()
    authority: str = ""
    certificate: bytes = b""

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
    """No, why, and what to do about it."""

    reason: str
    next_step: str = ASK_REGISTRAR


def decide(
    who: Principal,
    action: Action,
    now: datetime,
    *,
    key: Key | None = None,
    where: Where | None = None,
    review: bool = False,
) -> Permit | Deny:
    """Say whether `who` may take `action` at `now`: on `key`, or `where` it reaches.

    With neither, any grant will do: what is listed is then only what `readable` names. Where it
    is about a `review` of somebody's screening, those whose own is due are let in: `quorum` says
    whether their word counts, and there would be no way back without.
    """
    if now >= who.until:
        return Deny("the session or certificate has ended")
    if isinstance(who.subject, System):
        return _decide_system(who.subject, action, key)
    where = key.scope if key else where or Reach.ANY
    forgiven = SCREENING_DUE if review else ""
    return _decide_person(who, who.subject, action, where, now, forgiven)


def _decide_person(
    who: Principal, person: Person, action: Action, where: Where, now: datetime, forgiven: str
) -> Permit | Deny:
    hold = person.hold if person.hold and person.hold.binds(now) else None
    if action in OWN_ACTIONS:
        return Deny(f"{person.name} is on hold: {hold.reason}") if hold else Permit("own")
    # In the order of `Role`: who holds several acts by the one that is for this before others.
    held = [role for role in Role if role in person.roles and action in PERMISSIONS[role]]
    reasons: list[Lapse] = []
    for role in held:
        found = lapses(person, who.duties, role, where, now)
        lapsed = [lapse for lapse in found if lapse.code != forgiven]
        if not lapsed:
            return Permit(str(role))
        reasons += lapsed
    if reasons:
        return _dormant(reasons)
    return Deny(f"none of the roles of {person.name} allows {action}")


def _dormant(reasons: list[Lapse]) -> Deny:
    steps = (lapse.next_step for lapse in reasons)
    return Deny(
        "; ".join(dict.fromkeys(lapse.text for lapse in reasons)), "; ".join(dict.fromkeys(steps))
    )


def _decide_system(system: System, action: Action, key: Key | None) -> Permit | Deny:
    if action not in SYSTEM_ACTIONS or str(action) not in system.actions:
        return Deny(f"the enrolment of {system.name} does not allow {action}")
    if key is not None and not system.may_use(str(key.id), key.scope):
        return Deny(f"the enrolment of {system.name} does not name this key")
    return Permit("api-client")


def readable(who: Principal, action: Action, now: datetime) -> frozenset[Scope] | None:
    """The scopes of which `who` may list what `action` reads at `now`, or None for all of them."""
    if isinstance(who.subject, System):
        return frozenset({who.subject.scope})
    if isinstance(decide(who, action, now, where=Reach.ALL), Permit):
        return None
    scopes = {g.scope for g in who.subject.grants if g.scope != EVERYWHERE}
    own = map(Scope.parse, scopes)
    return frozenset(s for s in own if isinstance(decide(who, action, now, where=s), Permit))
