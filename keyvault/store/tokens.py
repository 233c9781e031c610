"""Tokens: what there is, the ledger of who has what, and what people signed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from keyvault.domain.canonical import Document
from keyvault.domain.errors import ConflictError, NotFoundError, TokenDuplicateError
from keyvault.domain.statements import Countersigned, Signed
from keyvault.domain.tokens import STOPPED, Custody, Token, TokenKind, TokenState
from keyvault.store import token_tables as tables
from keyvault.store.paging import Order
from keyvault.store.rows import document_of, insert_new, moment, text_of, ticks

OPEN, DONE, SPENT, REFUSED = "open", "done", "spent", "refused"
_TOKEN = tables.token
_CUSTODY = tables.token_custody
_KEY = tables.token_key
_STATEMENT = tables.token_statement
_COUNT = tables.stock_count
_NEWEST = Order(_TOKEN.c.created_at, _TOKEN.c.id, str, newest_first=True)
_OF_KEY = (
    select(_TOKEN)
    .join(_KEY, _KEY.c.token_id == _TOKEN.c.id)
    .where(_KEY.c.spki_sha256 == bindparam("name"))
)
_MINE = select(_KEY.c.token_id).where(_KEY.c.spki_sha256 == bindparam("name")).scalar_subquery()
_USED = update(_TOKEN).where(_TOKEN.c.id == _MINE)
_SECOND = 1_000_000  # ticks
_TEXTS = ("serial", "model", "profile", "purpose", "custodian", "place", "seal", "batch", "holder")
_TIMES = ("created_at", "changed_at", "due_at", "expires_at", "used_at")


@dataclass(frozen=True, slots=True)
class StatementRecord:
    """A statement as it is kept: open, done, or done and used up."""

    signed: Signed
    state: str
    at: datetime
    expires_at: datetime
    second: Countersigned | None


@dataclass(frozen=True, slots=True)
class StockCount:
    """What a blind count found in one place: `model serial` of what was missing or too much."""

    id: UUID
    place: str
    counter: str
    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    at: datetime
    settled_by: str
    finding: str
    settled: bool


class Tokens:
    """The room of tokens in one transaction. `changed`: whether it changed one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.changed = False

    def add(self, token: Token) -> None:
        """Raises `ConflictError` if a token of this model and serial is there."""
        if self.known(token.model, token.serial):
            raise ConflictError(
                f"token {token.model} {token.serial} is in stock already",
                next_step="compare the serials with the delivery note",
            )
        self._connection.execute(insert(_TOKEN).values(_row(token)))

    def known(self, model: str, serial: str) -> bool:
        """Whether a token of this model and serial was ever here."""
        same = (_TOKEN.c.model == model) & (_TOKEN.c.serial == serial)
        return self._connection.scalar(select(_TOKEN.c.id).where(same)) is not None

    def get(self, token_id: UUID) -> Token:
        row = self._connection.execute(select(_TOKEN).where(_TOKEN.c.id == str(token_id))).first()
        if row is None:
            raise no_token(token_id)
        return _token(row)

    def change(self, token: Token) -> None:
        """Raises `ConflictError` if somebody else changed the token since it was read."""
        same = (_TOKEN.c.id == str(token.id)) & (_TOKEN.c.version == token.version - 1)
        changed = update(_TOKEN).where(same).values(_row(token))
        if self._connection.execute(changed).rowcount != 1:
            raise ConflictError(f"token {token.id} was changed meanwhile", next_step="look again")
        self.changed = True

    def page(
        self, filters: dict[str, str | None], after: str | None = None, limit: int = 50
    ) -> tuple[list[Token], str | None]:
        """List tokens, newest first. `filters`: state, holder, place, custodian, serial, model."""
        query = select(_TOKEN)
        for name, value in filters.items():
            if value is not None:
                query = query.where(_TOKEN.c[name] == value)
        rows, following = _NEWEST.page(self._connection, query, after, limit)
        return [_token(row) for row in rows], following

    def in_states(self, *states: TokenState) -> list[Token]:
        """Every token in one of these states, oldest first."""
        query = select(_TOKEN).where(_TOKEN.c.state.in_([str(one) for one in states]))
        rows = self._connection.execute(query.order_by(_TOKEN.c.created_at, _TOKEN.c.id))
        return [_token(row) for row in rows]

    def of_holder(self, holder: str) -> list[Token]:
        query = select(_TOKEN).where(_TOKEN.c.holder == holder)
        rows = self._connection.execute(query.order_by(_TOKEN.c.created_at, _TOKEN.c.id))
        return [_token(row) for row in rows]

    # Custody

    def hand(self, token: Token, giver: str, now: datetime, statement: str = "") -> Custody:
        """Write down that the token's custodian has it from now on.

        Times are whole seconds, as people write them, and each entry has one of its own.
        """
        now = now.replace(microsecond=0)
        number, at = self._next_entry(token.id, ticks(now))
        own = (giver, token.custodian, moment(at), token.place, token.seal, statement)
        entry = Custody(token.id, number, *own)
        texts = ("giver", "taker", "place", "seal", "statement")
        values = {name: getattr(entry, name) for name in texts}
        key = {"token_id": str(token.id), "number": number}
        if not insert_new(self._connection, _CUSTODY, **key, at=at, **values):
            raise ConflictError(f"token {token.id} changed hands meanwhile", next_step="look again")
        return entry

    def _next_entry(self, token: UUID, now: int) -> tuple[int, int]:
        same = _CUSTODY.c.token_id == str(token)
        query = select(_CUSTODY.c.number, _CUSTODY.c.at).where(same)
        newest = query.order_by(_CUSTODY.c.number.desc()).limit(1)
        last = self._connection.execute(newest).first()
        return (last.number + 1, max(last.at + _SECOND, now)) if last else (1, now)

    def ledger(self, token_id: UUID) -> list[Custody]:
        """Everything that happened to the custody of one token, the first first."""
        query = select(_CUSTODY).where(_CUSTODY.c.token_id == str(token_id))
        rows = self._connection.execute(query.order_by(_CUSTODY.c.number))
        return [
            Custody(
                token_id, r.number, r.giver, r.taker, moment(r.at), r.place, r.seal, r.statement
            )
            for r in rows
        ]

    # Keys

    def add_key(self, token_id: UUID, slot: str, name: str, spki: bytes, now: datetime) -> None:
        """Claim a key (by its thumbprint) for a token. Raises `TokenDuplicateError`."""
        values = {"token_id": str(token_id), "slot": slot, "spki": spki, "made_at": ticks(now)}
        if insert_new(self._connection, _KEY, spki_sha256=name, **values):
            return
        owner = self.token_of_key(name)
        if owner is None or owner.id != token_id:
            raise TokenDuplicateError(
                f"token {owner.id if owner else 'unknown'} has this very key in another card",
                next_step="quarantine both, and ask who made them",
            )

    def keys(self, token_id: UUID) -> list[tuple[str, bytes]]:
        """Slot and SPKI of each key that a token ever had, the newest last."""
        query = select(_KEY.c.slot, _KEY.c.spki).where(_KEY.c.token_id == str(token_id))
        rows = self._connection.execute(query.order_by(_KEY.c.made_at, _KEY.c.slot))
        return [(row.slot, row.spki) for row in rows]

    def token_of_key(self, name: str) -> Token | None:
        """Whose key has this thumbprint."""
        row = self._connection.execute(_OF_KEY, {"name": name}).first()
        return None if row is None else _token(row)

    def stopped(self, name: str) -> Token | None:
        """The token whose key this is, if it opens nothing any more."""
        found = self.token_of_key(name)
        return found if found is not None and found.state in STOPPED else None

    def used(self, name: str, now: datetime) -> None:
        """Note that the key of this thumbprint was used; nothing, if it is no token's."""
        self._connection.execute(_USED, {"name": name, "used_at": ticks(now)})

    # Statements

    def propose(self, signed: Signed, state: str, now: datetime, until: datetime) -> None:
        """Keep what somebody signed. Raises `ConflictError` if its id was used before."""
        said = signed.statement
        values = {
            "id": str(said.id),
            "step": said.said.name,
            "token_id": str(said.token or ""),
            "state": state,
            "person": said.person,
            "second": said.second,
            "document": text_of(signed.document()),
            "countersigned": "",
            "at": ticks(now),
            "expires_at": ticks(until),
            "settled_at": None if state == OPEN else ticks(now),
        }
        if not insert_new(self._connection, _STATEMENT, **values):
            raise ConflictError(f"statement {said.id} is here already", next_step="sign a new one")

    def settle(
        self, statement: UUID, state: str, now: datetime, second: Countersigned | None = None
    ) -> None:
        """End an open statement, once. Raises `ConflictError`."""
        same = (_STATEMENT.c.id == str(statement)) & (_STATEMENT.c.state == OPEN)
        values: Document = {"state": state, "settled_at": ticks(now)}
        if second is not None:
            values["countersigned"] = text_of(second.document())
        if self._connection.execute(update(_STATEMENT).where(same).values(values)).rowcount != 1:
            raise ConflictError(f"statement {statement} is settled", next_step="look again")

    def spend(self, statement: UUID, before: str, after: str) -> None:
        """Use a settled statement up, once. Raises `ConflictError`."""
        same = (_STATEMENT.c.id == str(statement)) & (_STATEMENT.c.state == before)
        if (
            self._connection.execute(update(_STATEMENT).where(same).values(state=after)).rowcount
            != 1
        ):
            raise ConflictError(f"statement {statement} was used before", next_step="sign anew")

    def statement(self, statement: UUID) -> StatementRecord:
        query = select(_STATEMENT).where(_STATEMENT.c.id == str(statement))
        row = self._connection.execute(query).first()
        if row is None:
            raise NotFoundError(
                f"there is no statement {statement}", next_step="see keyvault tokens waiting"
            )
        return _statement(row)

    def statements(
        self,
        *,
        token: UUID | None = None,
        state: str | None = None,
        step: str | None = None,
        limit: int = 200,
    ) -> list[StatementRecord]:
        """What was signed, oldest first."""
        query = select(_STATEMENT)
        for name, value in (("token_id", token), ("state", state), ("step", step)):
            if value is not None:
                query = query.where(_STATEMENT.c[name] == str(value))
        ordered = query.order_by(_STATEMENT.c.at, _STATEMENT.c.id).limit(limit)
        return [_statement(row) for row in self._connection.execute(ordered)]

    def add_count(
        self,
        statement: UUID,
        place: str,
        counter: str,
        missing: list[str],
        surplus: list[str],
        now: datetime,
    ) -> None:
        """Keep what a count of a place found; it is settled at once where nothing differs."""
        right = not (missing or surplus)
        self._connection.execute(
            insert(_COUNT).values(
                id=str(statement),
                place=place,
                counter=counter,
                missing="\n".join(missing),
                surplus="\n".join(surplus),
                settled_by="",
                finding="as it should be" if right else "",
                at=ticks(now),
                settled_at=ticks(now) if right else None,
            )
        )

    def settle_count(self, statement: UUID, by: str, finding: str, now: datetime) -> None:
        """Explain a difference, once. Raises `ConflictError`."""
        same = (_COUNT.c.id == str(statement)) & _COUNT.c.settled_at.is_(None)
        values = {"settled_by": by, "finding": finding, "settled_at": ticks(now)}
        if self._connection.execute(update(_COUNT).where(same).values(values)).rowcount != 1:
            raise ConflictError(f"no difference of count {statement} is open")

    def stock_counts(self) -> list[StockCount]:
        """Every count, the newest first."""
        query = select(_COUNT).order_by(_COUNT.c.at.desc(), _COUNT.c.id).limit(1_000)
        return [_count(row) for row in self._connection.execute(query)]

    def counts(self) -> dict[str, int]:
        """How many tokens are in each state."""
        query = select(_TOKEN.c.state, func.count().label("held")).group_by(_TOKEN.c.state)
        return {row.state: row.held for row in self._connection.execute(query)}


def _count(row: Row[Any]) -> StockCount:
    return StockCount(
        id=UUID(row.id),
        place=row.place,
        counter=row.counter,
        missing=tuple(filter(None, row.missing.split("\n"))),
        surplus=tuple(filter(None, row.surplus.split("\n"))),
        at=moment(row.at),
        settled_by=row.settled_by,
        finding=row.finding,
        settled=row.settled_at is not None,
    )


def no_token(token_id: UUID) -> NotFoundError:
    return NotFoundError(f"there is no token {token_id}", next_step="see keyvault tokens list")


def _row(token: Token) -> Document:
    times = {name: getattr(token, name) for name in _TIMES}
    return {
        "id": str(token.id),
        "kind": str(token.kind),
        "state": str(token.state),
        "version": token.version,
        "job": token.job,
        "facts": text_of(token.facts),
        "replaces": str(token.replaces) if token.replaces else None,
        **{name: getattr(token, name) for name in _TEXTS},
        **{name: None if at is None else ticks(at) for name, at in times.items()},
    }


def _token(row: Row[Any]) -> Token:
    values = row._mapping  # noqa: SLF001  (SQLAlchemy's public name for it)
    times: dict[str, Any] = {name: values[name] for name in _TIMES}
    told: dict[str, Any] = {name: values[name] for name in _TEXTS}
    told |= {name: None if at is None else moment(at) for name, at in times.items()}
    return Token(
        id=UUID(row.id),
        kind=TokenKind(row.kind),
        state=TokenState(row.state),
        version=row.version,
        job=row.job,
        facts=document_of(row.facts),
        replaces=UUID(row.replaces) if row.replaces else None,
        **told,
    )


def _statement(row: Row[Any]) -> StatementRecord:
    return StatementRecord(
        signed=Signed.read(document_of(row.document)),
        state=row.state,
        at=moment(row.at),
        expires_at=moment(row.expires_at),
        second=Countersigned.read(document_of(row.countersigned)) if row.countersigned else None,
    )
