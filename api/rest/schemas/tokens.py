"""Tokens on the wire: what they are, who has them, and what people signed about them."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field

from api.rest.schemas.common import (
    Bytes,
    Hex64,
    Id,
    Instant,
    InstantText,
    Moment,
    Name,
    Page,
    Signature,
    Text,
    Wire,
)
from keyvault.domain.statements import Countersigned, Signed, Statement
from keyvault.domain.tokens import Concern, Custody, Step, Token, TokenKind, TokenState
from keyvault.store.tokens import StatementRecord, StockCount

_Challenge = Annotated[str, Field(pattern=r"^[0-9]{1,16}:[0-9a-f]{64}$")]


class StatementIn(Wire):
    """What somebody signed, field by field as it was signed; see the formats page."""

    ctx: Literal["keyvault-token-v1"]
    id: Id
    origin: Annotated[str, Field(max_length=200)]
    step: Annotated[str, Field(max_length=40)]
    details: dict[str, Any]
    token: Id | None
    version: Annotated[int, Field(ge=0, le=2**31)]
    person: Name
    credential: Hex64
    second: Name | None
    challenge: _Challenge
    at: InstantText


class SignedIn(Wire):
    """A statement and the signature over its canonical form, in DER."""

    statement: StatementIn
    signature: Signature

    def read(self) -> Signed:
        return Signed(Statement.read(self.statement.model_dump(mode="json")), self.signature)


class SecondIn(Wire):
    """The second signature."""

    person: Name
    credential: Hex64
    challenge: _Challenge
    at: InstantText
    signature: Signature

    def read(self) -> Countersigned:
        own = self.model_dump(exclude={"signature"})
        return Countersigned(**own, signature=self.signature)


class StatementOut(Wire):
    """A statement as it is kept; `second` is there once both have signed."""

    statement: dict[str, Any]
    signature: str
    state: str
    expires_at: Moment
    second: dict[str, Any] | None

    @classmethod
    def of(cls, record: StatementRecord) -> Self:
        second = record.second.document() if record.second else None
        return cls(
            **record.signed.document(),
            state=record.state,
            expires_at=record.expires_at,
            second=second,
        )


class StatementsOut(Wire):
    """What people signed, oldest first."""

    items: list[StatementOut]


class TokenOut(Wire):
    """A token as it is now."""

    id: UUID
    kind: TokenKind
    serial: str
    model: str
    state: TokenState
    version: int
    profile: str
    purpose: str
    holder: str
    custodian: str
    place: str
    seal: str
    batch: str
    job: str
    replaces: UUID | None
    created_at: Moment
    changed_at: Moment
    due_at: Moment | None
    expires_at: Moment | None
    used_at: Moment | None
    facts: dict[str, Any]

    @classmethod
    def of(cls, token: Token) -> Self:
        return cls(**{name: getattr(token, name) for name in cls.model_fields})


class TokensOut(Page[TokenOut]):
    """Tokens, newest first."""


class CustodyOut(Wire):
    """From `at` on `taker` has the token."""

    number: int
    giver: str
    taker: str
    at: Moment
    place: str
    seal: str
    statement: str

    @classmethod
    def of(cls, entry: Custody) -> Self:
        return cls(**{name: getattr(entry, name) for name in cls.model_fields})


class LedgerOut(Wire):
    """Everything that happened to the custody of one token, the first first."""

    items: list[CustodyOut]


class TokenKeyOut(Wire):
    """A key that was made on the token: `spki` in DER."""

    slot: str
    spki: Bytes


class TokenKeysOut(Wire):
    items: list[TokenKeyOut]


class HolderOut(Wire):
    """Who had a token at a time: exactly one person."""

    token: UUID
    at: Moment
    person: str


class StopIn(Wire):
    """A step that one person alone takes."""

    step: Literal["suspend", "report-lost", "revoke", "block-pin"]
    reason: Text
    missing_since: Instant | None = None

    def read(self) -> Step:
        return Step(self.step)


class ConcernOut(Wire):
    """A token and why somebody should look at it."""

    concern: Concern
    token: TokenOut


class ConcernsOut(Wire):
    items: list[ConcernOut]


class StockCountOut(Wire):
    """What a blind count found. An open difference is an incident."""

    id: UUID
    place: str
    counter: str
    missing: list[str]
    surplus: list[str]
    at: Moment
    settled: bool
    settled_by: str
    finding: str

    @classmethod
    def of(cls, count: StockCount) -> Self:
        return cls(**{name: getattr(count, name) for name in cls.model_fields})


class StockCountsOut(Wire):
    items: list[StockCountOut]


class FindingIn(Wire):
    """How a difference came about, and what was done."""

    finding: Text
