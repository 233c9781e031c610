"""What people sign: a request, and their yes or no to the whole of it."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from uuid import UUID

from keyvault.domain.canonical import Document, canonical, equal
from keyvault.domain.commands import Command, command_of
from keyvault.domain.documents import TEXT_LIMIT, document_of, read
from keyvault.domain.errors import (
    ApprovalInvalidError,
    InvalidInputError,
    RequestAlteredError,
    RequestStateError,
)
from keyvault.domain.people import check_id
from keyvault.domain.rules import Rule
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of, time_of

REQUEST_CONTEXT = "keyvault-request-v1"
APPROVAL_CONTEXT = "keyvault-approval-v1"
CLOCK_LEEWAY = timedelta(seconds=60)
NONCE_SIZE = 16  # bytes
ROOT_SIZE = 32  # bytes

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

    @classmethod
    def read(cls, document: Document) -> "Seen":
        """Read what `document` wrote. Raises `ValueError` or its like on anything else."""
        size, root = document["size"], bytes.fromhex(document["root"])
        if type(size) is not int or size < 0 or len(root) != ROOT_SIZE:
            raise ValueError("not a log size and a root")
        return cls(size, root.hex())


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
            approval = cls(
                approver=str(document["approver"]),
                credential=str(document["credential"]),
                decision=Decision(document["decision"]),
                reason=str(document["reason"]),
                at=str(document["at"]),
                seen=Seen.read(document["seen"]),
                signature=base64.b64decode(document["signature"], validate=True),
            )
            time_of(approval.at)
        except (KeyError, TypeError, ValueError, InvalidInputError) as error:
            raise ApprovalInvalidError("not an approval") from error
        if not equal(approval.document(), document):
            raise ApprovalInvalidError("an approval with fields that nobody knows")
        if len(approval.reason) > TEXT_LIMIT or not approval.reason.isprintable():
            raise ApprovalInvalidError(f"a reason is at most {TEXT_LIMIT} printable characters")
        return approval


@dataclass(frozen=True)  # no slots: it holds its document once that was written
class Request:
    """What is asked for; `document` is what people sign, the whole of it."""

    id: UUID
    origin: str
    command: Command
    scope: Scope | None
    rule: Rule
    requester: str
    requested_at: datetime
    nonce: bytes
    seen: Seen

    @property
    def expires_at(self) -> datetime:
        return self.requested_at + timedelta(seconds=self.rule.expires_after)

    @property
    def due_at(self) -> datetime:
        """When it may be carried out at the earliest: until then others can object."""
        return self.requested_at + timedelta(seconds=self.rule.wait)

    @cached_property
    def document(self) -> Document:
        """Whoever wants another one takes a copy."""
        return {
            "ctx": REQUEST_CONTEXT,
            "origin": self.origin,
            "id": str(self.id),
            "command": self.command.name,
            "parameters": self.command.parameters(),
            "scope": None if self.scope is None else self.scope.document(),
            "rule": document_of(self.rule),
            "requester": self.requester,
            "requested_at": text_of(self.requested_at),
            "expires_at": text_of(self.expires_at),
            "nonce": self.nonce.hex(),
            "seen": self.seen.document(),
        }

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(canonical(self.document)).digest()

    @classmethod
    def read(cls, document: Document) -> "Request":
        """Read what `document` wrote, and nothing else. Raises `InvalidInputError`."""
        try:
            request = cls._read(document)
            strict = equal(request.document, document) and len(request.nonce) == NONCE_SIZE
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InvalidInputError("not an approval request") from error
        if not strict:
            raise InvalidInputError("not an approval request of this version")
        return request

    @classmethod
    def _read(cls, document: Document) -> "Request":
        scope = document["scope"]
        return cls(
            id=UUID(document["id"]),
            origin=str(document["origin"]),
            command=command_of(document["command"], document["parameters"]),
            scope=None if scope is None else Scope(**scope),
            rule=read(Rule, document["rule"], "a rule"),
            requester=check_id(document["requester"]),
            requested_at=time_of(document["requested_at"]),
            nonce=bytes.fromhex(document["nonce"]),
            seen=Seen.read(document["seen"]),
        )


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
    """Write a request, cut to the second. `nonce` is 16 random bytes."""
    return Request.read(
        Request(request_id, origin, command, scope, rule, requester, now, nonce, seen).document
    )


def check_told(request: Request, told: Document | None) -> None:
    """Demand that the event of its asking has this very request; None is no such event.

    Raises `RequestAlteredError`, naming the fields that differ.
    """
    document = request.document
    if told == document:
        return
    known = told or document
    changed = sorted(name for name, value in document.items() if known.get(name) != value)
    what = f"in {', '.join(changed)}" if changed else "of which it tells nothing"
    raise RequestAlteredError(
        f"request {request.id} is not the one that the log tells of: {what}",
        next_step="sign nothing, cancel it, ask again, and see runbook authority-rejected",
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

    def with_approval(self, approval: Approval) -> "ApprovalRequest":
        """Put one more among those that count, which stand in the order of their times."""
        given = sorted((*self.approvals, approval), key=lambda one: (one.at, one.approver))
        return replace(self, approvals=tuple(given))


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
