"""Dual control: a request, signatures over the whole of it, and the clearance they add up to.

The rule is checked by one pure function, `clear`, wherever it matters: before an operation
begins, in the gate before the device acts, and again by whoever loads the authority chain.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from keyvault.domain.canonical import Document, canonical
from keyvault.domain.commands import Command, command_of
from keyvault.domain.errors import (
    ApprovalInvalidError,
    AuthorityError,
    InvalidInputError,
    QuorumError,
    RequestStateError,
)
from keyvault.domain.people import Person, Role, thumbprint
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of, time_of

REQUEST_CONTEXT = "keyvault-request-v1"
APPROVAL_CONTEXT = "keyvault-approval-v1"
MIN_APPROVALS = 2  # no single point of vulnerability
MIN_ELIGIBLE = 3  # with two, the one who asks would know every approver
CLOCK_LEEWAY = timedelta(seconds=60)

Verify = Callable[[bytes, bytes, bytes], bool]
"""(SPKI in DER, signature, message) → whether the signature is good. Never raises."""


class RequestState(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    EXECUTING = "executing"
    DONE = "done"
    VOID = "void"  # executing was cut off and reconciled: nothing was made
    REFUSED = "refused"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


REQUEST_MOVES: dict[RequestState, frozenset[RequestState]] = {
    RequestState.REQUESTED: frozenset(
        {
            RequestState.APPROVED,
            RequestState.REFUSED,
            RequestState.CANCELLED,
            RequestState.EXPIRED,
        }
    ),
    RequestState.APPROVED: frozenset(
        {
            RequestState.EXECUTING,
            RequestState.REFUSED,
            RequestState.CANCELLED,
            RequestState.EXPIRED,
        }
    ),
    RequestState.EXECUTING: frozenset({RequestState.DONE, RequestState.VOID}),
    RequestState.DONE: frozenset(),
    RequestState.VOID: frozenset(),
    RequestState.REFUSED: frozenset(),
    RequestState.CANCELLED: frozenset(),
    RequestState.EXPIRED: frozenset(),
}


class Decision(StrEnum):
    APPROVE = "approve"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Seen:
    """The log as somebody saw it: so nobody can roll it back past them unnoticed."""

    size: int
    root: str  # hex

    def document(self) -> Document:
        return {"size": self.size, "root": self.root}


@dataclass(frozen=True, slots=True)
class Rule:
    """How many distinct holders of `role`, never the requester, must sign for `commands`."""

    id: str
    commands: tuple[str, ...]
    key_classes: tuple[str, ...]  # ("*",) for all, and for commands without a key
    role: Role
    approvals: int
    expires_after: int  # seconds

    def covers(self, command: str, key_class: str) -> bool:
        return (command in self.commands or "*" in self.commands) and (
            key_class in self.key_classes or "*" in self.key_classes
        )

    def document(self) -> Document:
        return {
            "id": self.id,
            "commands": list(self.commands),
            "key_classes": list(self.key_classes),
            "role": str(self.role),
            "approvals": self.approvals,
            "expires_after": self.expires_after,
        }

    @classmethod
    def read(cls, document: Document) -> "Rule":
        """Read what `document` wrote. Raises `InvalidInputError`."""
        try:
            rule = cls(
                id=str(document["id"]),
                commands=tuple(map(str, document["commands"])),
                key_classes=tuple(map(str, document["key_classes"])),
                role=Role(document["role"]),
                approvals=int(document["approvals"]),
                expires_after=int(document["expires_after"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInputError("not a rule") from error
        if rule.document() != document:
            raise InvalidInputError("a rule with fields that nobody knows")
        return rule


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's signed yes or no. `signature` is ECDSA P-256 with SHA-256, in DER."""

    approver: str
    credential: str  # thumbprint of the key that signed
    decision: Decision
    reason: str
    at: str
    seen: Seen
    signature: bytes = b""

    def document(self) -> Document:
        return {
            "approver": self.approver,
            "credential": self.credential,
            "decision": str(self.decision),
            "reason": self.reason,
            "at": self.at,
            "seen": self.seen.document(),
            "signature": base64.b64encode(self.signature).decode(),
        }

    def message(self, request: Document) -> bytes:
        """The bytes that the approver signs: the whole request and this decision on it."""
        own = {key: value for key, value in self.document().items() if key != "signature"}
        return canonical({"ctx": APPROVAL_CONTEXT, "request": request, **own})

    @classmethod
    def read(cls, document: Document) -> "Approval":
        """Read what `document` wrote, strictly. Raises `ApprovalInvalidError`."""
        try:
            seen = document["seen"]
            approval = cls(
                approver=str(document["approver"]),
                credential=str(document["credential"]),
                decision=Decision(document["decision"]),
                reason=str(document["reason"]),
                at=str(document["at"]),
                seen=Seen(seen["size"], seen["root"]),
                signature=base64.b64decode(document["signature"], validate=True),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ApprovalInvalidError("not an approval") from error
        if approval.document() != document:
            raise ApprovalInvalidError("an approval with fields that nobody knows")
        return approval


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, read from its canonical document; `document` is what people sign."""

    id: UUID
    origin: str
    command: Command
    scope: Scope | None
    rule: Rule
    requester: str
    requested_at: datetime
    expires_at: datetime
    document: Document

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(canonical(self.document)).digest()

    @classmethod
    def read(cls, document: Document) -> "Request":
        """Read a request document strictly. Raises `InvalidInputError`."""
        if document.get("ctx") != REQUEST_CONTEXT or set(document) != _REQUEST_FIELDS:
            raise InvalidInputError("not an approval request of this version")
        scope = document["scope"]
        return cls(
            id=UUID(str(document["id"])),
            origin=str(document["origin"]),
            command=command_of(str(document["command"]), document["parameters"]),
            scope=None if scope is None else Scope(**scope),
            rule=Rule.read(document["rule"]),
            requester=str(document["requester"]),
            requested_at=time_of(document["requested_at"]),
            expires_at=time_of(document["expires_at"]),
            document=document,
        )


_REQUEST_FIELDS = {
    "ctx",
    "origin",
    "id",
    "command",
    "parameters",
    "scope",
    "rule",
    "requester",
    "requested_at",
    "expires_at",
    "nonce",
    "seen",
}


def new_request(  # noqa: PLR0913  (every field is signed, so every field is named)
    *,
    request_id: UUID,
    origin: str,
    command: Command,
    scope: Scope | None,
    rule: Rule,
    requester: str,
    now: datetime,
    nonce: bytes,
    seen: Seen,
) -> Request:
    """Write a request's document. `nonce` is 16 random bytes."""
    return Request.read(
        {
            "ctx": REQUEST_CONTEXT,
            "origin": origin,
            "id": str(request_id),
            "command": command.name,
            "parameters": command.parameters(),
            "scope": None if scope is None else scope.document(),
            "rule": rule.document(),
            "requester": requester,
            "requested_at": text_of(now),
            "expires_at": text_of(now + timedelta(seconds=rule.expires_after)),
            "nonce": nonce.hex(),
            "seen": seen.document(),
        }
    )


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A request on its way: its state, and the approvals that counted so far."""

    request: Request
    state: RequestState
    version: int
    approvals: tuple[Approval, ...] = ()

    def to(self, state: RequestState) -> "ApprovalRequest":
        """Take one arrow of `REQUEST_MOVES`. Raises `RequestStateError`."""
        if state not in REQUEST_MOVES[self.state]:
            raise RequestStateError(f"a request that is {self.state} cannot become {state}")
        return ApprovalRequest(self.request, state, self.version + 1, self.approvals)


@dataclass(frozen=True, slots=True)
class Clearance:
    """Proof, made by `clear` alone, that enough people signed for exactly this command."""

    request: Request
    approvers: tuple[str, ...]


def check_approval(
    people: dict[str, Person], request: Request, approval: Approval, verify: Verify
) -> None:
    """Raise `ApprovalInvalidError` unless this approval counts for this request."""
    person = people.get(approval.approver)
    if person is None:
        raise ApprovalInvalidError(f"{approval.approver} is no person known to authority")
    if approval.approver == request.requester:
        raise ApprovalInvalidError(
            f"{person.name} asked for this and cannot approve it",
            next_step="two other people have to decide",
        )
    if request.rule.role not in person.roles:
        raise ApprovalInvalidError(f"{person.name} does not hold the role {request.rule.role}")
    if approval.credential != thumbprint(person.spki):
        raise ApprovalInvalidError(f"this is not the enrolled key of {person.name}")
    at = time_of(approval.at)
    if not request.requested_at - CLOCK_LEEWAY <= at <= request.expires_at:
        raise ApprovalInvalidError(f"the approval of {person.name} is outside the request's time")
    if not verify(person.spki, approval.signature, approval.message(request.document)):
        raise ApprovalInvalidError(f"the signature of {person.name} is not valid")


def clear(
    people: dict[str, Person],
    rule: Rule,
    request: Request,
    approvals: Iterable[Approval],
    verify: Verify,
    now: datetime | None = None,
) -> Clearance:
    """Redeem approvals. `rule` is the one in force; `now` is None only for records of the past.

    Raises `QuorumError` if anything is missing, and `AuthorityError` if the request quotes
    another rule than the one in force.
    """
    if request.rule != rule:
        raise AuthorityError(
            "the rule changed after this was asked for", next_step="ask again under the new rule"
        )
    if now is not None and now > request.expires_at:
        raise RequestStateError("the request has expired", next_step="ask again")
    yes: set[str] = set()
    for approval in approvals:
        check_approval(people, request, approval, verify)
        if approval.decision is Decision.REFUSE:
            raise QuorumError(f"{approval.approver} refused this request")
        yes.add(approval.approver)
    if len(yes) < max(rule.approvals, MIN_APPROVALS):
        raise QuorumError(
            f"{len(yes)} of {rule.approvals} approvals are there",
            next_step=f"wait for {rule.approvals - len(yes)} more from people who hold {rule.role}",
        )
    return Clearance(request, tuple(sorted(yes)))


def check_words(digest: bytes) -> str:
    """Four words to compare by telephone: proquints of the digest's first 64 bits."""
    consonants, vowels = "bdfghjklmnprstvz", "aiou"
    words = []
    for at in range(0, 8, 2):
        bits = int.from_bytes(digest[at : at + 2], "big")
        words.append(
            consonants[bits >> 12 & 15]
            + vowels[bits >> 10 & 3]
            + consonants[bits >> 6 & 15]
            + vowels[bits >> 4 & 3]
            + consonants[bits & 15]
        )
    return "-".join(words)
