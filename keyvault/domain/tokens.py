"""Credential tokens: their states, every arrow between them, and who may take each.

A step that changes who has a token, or what it may do, is a statement that people sign, see
`statements`. The others are taken in a session, by the issuing job, or by the clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from keyvault.domain.access import Action
from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document
from keyvault.domain.errors import NotFoundError, TokenStateError


class TokenKind(StrEnum):
    """How a token is spoken to."""

    PIV_CARD = "piv-card"  # SP 800-73-4, by APDUs
    PKCS11 = "pkcs11"  # a USB token with a module of its own


class TokenState(StrEnum):
    STOCK = "stock"
    ALLOCATED = "allocated"  # for one named holder; an issuing job may be under way
    PERSONALISED = "personalised"
    QUARANTINED = "quarantined"  # something is wrong with it: it is destroyed, and nothing else
    IN_TRANSIT = "in-transit"
    DELIVERED = "delivered"
    ACTIVE = "active"
    PIN_BLOCKED = "pin-blocked"
    SUSPENDED = "suspended"
    LOST_STOLEN = "lost-stolen"
    REVOKED = "revoked"
    EXPIRED = "expired"
    REPLACED = "replaced"
    RETURNED = "returned"
    DESTROYED = "destroyed"


class Step(StrEnum):
    """What is done with a token. Each is one row of `MOVES`."""

    ALLOCATE = "allocate"
    PERSONALISE = "personalise"
    QUARANTINE = "quarantine"
    DISPATCH = "dispatch"
    DELIVER = "deliver"
    ACTIVATE = "activate"
    BLOCK_PIN = "block-pin"
    UNBLOCK = "unblock"
    SUSPEND = "suspend"
    RESUME = "resume"
    REPORT_LOST = "report-lost"
    OVERDUE = "overdue"
    REVOKE = "revoke"
    EXPIRE = "expire"
    REPLACE = "replace"
    GIVE_BACK = "give-back"
    DESTROY = "destroy"


class By(StrEnum):
    """How a step is taken."""

    STATEMENT = "statement"  # people sign it
    SESSION = "session"  # one person's session is enough
    JOB = "job"  # the issuing job, in the session of who runs it
    CLOCK = "clock"


_S = TokenState
LIVE = frozenset(
    {
        *(_S.ALLOCATED, _S.PERSONALISED, _S.IN_TRANSIT, _S.DELIVERED),
        *(_S.ACTIVE, _S.PIN_BLOCKED, _S.SUSPENDED, _S.LOST_STOLEN),
    }
)
# Whose keys open nothing here. All others are awaited, or in their holder's hands.
STOPPED = frozenset(
    {
        *(_S.QUARANTINED, _S.SUSPENDED, _S.LOST_STOLEN, _S.REVOKED, _S.EXPIRED),
        *(_S.REPLACED, _S.RETURNED, _S.DESTROYED),
    }
)
ON_THE_SHELF = frozenset(
    {_S.STOCK, _S.ALLOCATED, _S.PERSONALISED, _S.QUARANTINED, _S.RETURNED}
)  # what a count of the stock has to find


@dataclass(frozen=True, slots=True)
class Move:
    """One arrow: from where to where, how it is taken, who may, and what the log calls it.

    `second` is what whoever signs beside the first has to be permitted. A holder may always
    suspend their own token; `TOKEN_OWN` is theirs, or the receiver's, whoever that is.
    """

    sources: frozenset[TokenState]
    target: TokenState
    how: By
    action: Action | None
    event: EventType
    second: Action | None = None


def _move(
    sources: Sequence[TokenState] | frozenset[TokenState],
    target: TokenState,
    how: By,
    action: Action | None,
    event: EventType,
    second: Action | None = None,
) -> Move:
    return Move(frozenset(sources), target, how, action, event, second)


_A, _E = Action, EventType
# Every arrow, and no other. What a token does in its holder's hands ends at DESTROYED.
MOVES: Mapping[Step, Move] = {
    Step.ALLOCATE: _move(
        [_S.STOCK], _S.ALLOCATED, By.STATEMENT, _A.TOKEN_VET, _E.TOKEN_ALLOCATED
    ),
    Step.PERSONALISE: _move(
        [_S.ALLOCATED], _S.PERSONALISED, By.JOB, _A.TOKEN_ISSUE, _E.TOKEN_PERSONALISED
    ),
    Step.QUARANTINE: _move(
        [_S.STOCK, _S.ALLOCATED, _S.PERSONALISED, _S.RETURNED],
        _S.QUARANTINED, By.JOB, _A.TOKEN_ISSUE, _E.TOKEN_QUARANTINED,
    ),
    Step.DISPATCH: _move(
        [_S.PERSONALISED], _S.IN_TRANSIT, By.STATEMENT, _A.TOKEN_ISSUE, _E.TOKEN_DISPATCHED
    ),
    Step.DELIVER: _move(
        [_S.IN_TRANSIT], _S.DELIVERED, By.STATEMENT, _A.TOKEN_VET, _E.TOKEN_DELIVERED,
        _A.TOKEN_OWN,
    ),
    Step.ACTIVATE: _move(
        [_S.DELIVERED], _S.ACTIVE, By.STATEMENT, _A.TOKEN_OWN, _E.TOKEN_ACTIVATED, _A.TOKEN_VET
    ),
    Step.BLOCK_PIN: _move(
        [_S.ACTIVE], _S.PIN_BLOCKED, By.SESSION, _A.TOKEN_SUSPEND, _E.PIN_BLOCKED
    ),
    Step.UNBLOCK: _move([_S.PIN_BLOCKED], _S.ACTIVE, By.JOB, _A.TOKEN_ISSUE, _E.PIN_UNBLOCKED),
    Step.SUSPEND: _move(
        [_S.ACTIVE, _S.PIN_BLOCKED],
        _S.SUSPENDED, By.SESSION, _A.TOKEN_SUSPEND, _E.TOKEN_SUSPENDED,
    ),
    Step.RESUME: _move(
        [_S.SUSPENDED], _S.ACTIVE, By.STATEMENT, _A.TOKEN_VET, _E.TOKEN_RESUMED, _A.TOKEN_WITNESS
    ),
    Step.REPORT_LOST: _move(
        LIVE - {_S.ALLOCATED, _S.LOST_STOLEN},
        _S.LOST_STOLEN, By.SESSION, _A.TOKEN_OWN, _E.TOKEN_LOST,
    ),
    Step.OVERDUE: _move([_S.IN_TRANSIT], _S.LOST_STOLEN, By.CLOCK, None, _E.CUSTODY_OVERDUE),
    Step.REVOKE: _move(
        LIVE - {_S.ALLOCATED}, _S.REVOKED, By.SESSION, _A.TOKEN_VET, _E.TOKEN_REVOKED
    ),
    Step.EXPIRE: _move(
        [_S.ACTIVE, _S.PIN_BLOCKED, _S.SUSPENDED, _S.DELIVERED],
        _S.EXPIRED, By.CLOCK, None, _E.TOKEN_EXPIRED,
    ),
    Step.REPLACE: _move(
        [_S.ACTIVE, _S.PIN_BLOCKED, _S.SUSPENDED],
        _S.REPLACED, By.JOB, _A.TOKEN_VET, _E.TOKEN_REPLACED,
    ),
    Step.GIVE_BACK: _move(
        [_S.REVOKED, _S.EXPIRED, _S.REPLACED],
        _S.RETURNED, By.STATEMENT, _A.TOKEN_ISSUE, _E.TOKEN_RETURNED, _A.TOKEN_OWN,
    ),
    Step.DESTROY: _move(
        [_S.RETURNED, _S.QUARANTINED],
        _S.DESTROYED, By.STATEMENT, _A.TOKEN_ISSUE, _E.TOKEN_DESTROYED, _A.TOKEN_WITNESS,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """One token as it is now. What it was is in the log and in the ledger of its custody.

    `holder` is who it is for, `custodian` who has it in hand: always exactly one person.
    `facts` is what was read back from it: firmware, tries, versions of its keys.
    """

    id: UUID
    kind: TokenKind
    serial: str
    model: str
    state: TokenState
    custodian: str
    place: str
    seal: str
    batch: str
    created_at: datetime
    changed_at: datetime
    version: int = 1
    profile: str = ""
    purpose: str = ""
    holder: str = ""
    job: str = ""  # the issuing job that works on it, or made it
    replaces: UUID | None = None
    due_at: datetime | None = None  # when a sent one has to have arrived
    expires_at: datetime | None = None
    used_at: datetime | None = None
    facts: Document = field(default_factory=dict)

    def take(self, step: Step, now: datetime, **changes: object) -> "Token":
        """Return the token after a step. Raises `TokenStateError` where it is not its turn."""
        self.check(step)
        changed = {"state": MOVES[step].target, "changed_at": now, **changes}
        return self.with_(**changed)

    def with_(self, **changes: object) -> "Token":
        """Return the token with other fields, as its next version."""
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]  # by name

    def check(self, step: Step) -> None:
        """Raise `TokenStateError` unless this step may be taken now."""
        if self.state not in MOVES[step].sources:
            raise TokenStateError(
                f"{step} does not apply to a token that is {self.state}",
                next_step=f"see what it went through: keyvault tokens show {self.id}",
            )


@dataclass(frozen=True, slots=True)
class Custody:
    """One entry of a token's ledger: from `at` on, `taker` has it. `number` counts from 1."""

    token: UUID
    number: int
    giver: str
    taker: str
    at: datetime
    place: str
    seal: str
    statement: str  # whose two signatures say so; empty for a step of the service


def had(ledger: Sequence[Custody], at: datetime) -> str:
    """Say who had a token at a time: exactly one name. Raises `NotFoundError` before its first.

    `ledger` is in the order of numbers, whose times never go back.
    """
    name = ""
    for entry in ledger:
        if entry.at > at:
            break
        name = entry.taker
    if not name:
        raise NotFoundError("nobody here had this token at that time")
    return name


# Reports -------------------------------------------------------------------------------------

RENEW_BEFORE = timedelta(days=90)
DORMANT_AFTER = timedelta(days=90)
ACTIVATE_WITHIN = timedelta(days=14)  # of its delivery
WIPE_WITHIN = timedelta(days=30)  # of its return
FOUND_WITHIN = timedelta(days=7)  # a suspended token comes back to life
UNBLOCKS_A_YEAR = 2  # the third is a replacement


# Among a token's facts.
PIN_CHOSEN, PUK_SPENT, MASTER = "pin_chosen", "puk_spent", "master"


class Concern(StrEnum):
    """Why somebody should look at a token."""

    ENDING = "ending"
    DORMANT = "dormant"  # nobody used it for long
    NOT_ACTIVATED = "not-activated"
    LATE = "late"  # sent, and not confirmed in time
    PUK_SPENT = "puk-spent"  # used where others may have seen it: it is replaced at a station
    KEY_BEHIND = "key-behind"  # a card whose management key is not of the newest master


@dataclass(frozen=True, slots=True)
class Limits:
    """How long before its end a token is named, and after how long without use.

    `master` is the newest master of management keys, 0 where nobody asks.
    """

    ending: timedelta = RENEW_BEFORE
    dormant: timedelta = DORMANT_AFTER
    master: int = 0


USUAL = Limits()


def concerns(token: Token, now: datetime, limits: Limits = USUAL) -> list[Concern]:
    """Why a token needs attention, the most pressing reason first; empty if it does not.

    It is used when its key logs in, decides, or signs a statement or a file here.
    """
    if token.state is TokenState.IN_TRANSIT:
        return [Concern.LATE] if token.due_at is not None and token.due_at <= now else []
    if token.state is TokenState.DELIVERED:
        waits = now - token.changed_at >= ACTIVATE_WITHIN
        return [Concern.NOT_ACTIVATED] if waits else []
    if token.state not in (TokenState.ACTIVE, TokenState.PIN_BLOCKED, TokenState.SUSPENDED):
        return []
    ends = token.expires_at is not None and token.expires_at - now <= limits.ending
    found = [
        (Concern.PUK_SPENT, bool(token.facts.get(PUK_SPENT))),
        (Concern.ENDING, ends),
        (Concern.KEY_BEHIND, _has_own_key(token) and token.facts[MASTER] < limits.master),
        (Concern.DORMANT, now - (token.used_at or token.changed_at) >= limits.dormant),
    ]
    return [each for each, is_so in found if is_so]


def _has_own_key(token: Token) -> bool:
    """Whether it is a card whose management key is of a master of ours."""
    return token.facts.get("obeys") == "own management key" and MASTER in token.facts
