"""One signed step under way: what it changes, and what the log is told of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keyvault.domain.access import Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.errors import TokenStateError
from keyvault.domain.statements import Countersigned, Nominate, Signed, Statement
from keyvault.domain.times import text_of
from keyvault.domain.tokens import MOVES, Token
from keyvault.operations import tokens
from keyvault.store.unit_of_work import Work

STOCK = "stock"


@dataclass(frozen=True, slots=True)
class Taking:
    """One signed step under way. `second` is there once it has both signatures."""

    work: Work
    authority: Authority
    who: Principal
    role: str
    signed: Signed
    now: datetime
    second: Countersigned | None = None

    @property
    def statement(self) -> Statement:
        return self.signed.statement

    def token(self) -> Token:
        """The token that it is about, as it was looked at. Raises `TokenStateError`."""
        said = self.statement
        if said.token is None:
            raise TokenStateError(f"{said.said.name} is about no token")
        token = self.work.tokens.get(said.token)
        if token.version != said.version:
            raise TokenStateError(
                "the token is not as it was when this was signed", next_step="sign anew"
            )
        if said.said.step is not None:
            token.check(said.said.step)
        return token

    def told(self, **more: object) -> Document:
        """What the log keeps: the statement with every signature."""
        signatures: Document = {"statement": self.signed.document()}
        if self.second is not None:
            signatures["second"] = self.second.document()
        return {**signatures, **more}


def stream_of(said: Statement) -> str:
    if said.token is not None:
        return tokens.token_stream(said.token)
    return f"person:{said.said.holder}" if isinstance(said.said, Nominate) else STOCK


def event(
    step: Taking,
    kind: EventType,
    stream: str,
    told: Document,
    outcome: Outcome = Outcome.OK,
) -> AuditEvent:
    operation = step.statement.id
    return AuditEvent(kind, outcome, operation, stream, step.who.actor, told, step.role)


def moved(step: Taking, token: Token, kind: EventType, **more: object) -> AuditEvent:
    told = step.told(token=str(token.id), serial=token.serial, state=str(token.state), **more)
    return event(step, kind, tokens.token_stream(token.id), told)


def change(step: Taking, token: Token, **changes: Any) -> tuple[Token, AuditEvent]:
    """Take the arrow of the statement, and write the token."""
    arrow = step.statement.said.step
    if arrow is None:
        raise TokenStateError("this statement takes no arrow")
    changed = token.take(arrow, step.now, **changes)
    step.work.tokens.change(changed)
    return changed, moved(step, changed, MOVES[arrow].event)


def handed(step: Taking, token: Token, giver: str) -> AuditEvent:
    return moved(step, token, EventType.CUSTODY_TRANSFERRED, **entered(step, token, giver))


def entered(step: Taking, token: Token, giver: str) -> Document:
    """Write the next entry of a token's ledger, and return what its event says of it."""
    entry = step.work.tokens.hand(token, giver, step.now, str(step.statement.id))
    names = ("number", "giver", "taker", "place", "seal")
    return {**{name: getattr(entry, name) for name in names}, "at": text_of(entry.at)}


def words(step: Taking, kind: type[Any]) -> Any:
    """The words of this statement, whose kind chose the function."""
    said = step.statement.said
    if not isinstance(said, kind):
        raise TokenStateError(f"{said.name} says something else")
    return said
