"""Calls that may be repeated: what the first one was asked, and what it answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sqlalchemy import ColumnElement, Connection, bindparam, delete, select, update
from sqlalchemy.engine import Dialect

from keyvault.domain.canonical import Document
from keyvault.domain.errors import ConflictError, NotFoundError
from keyvault.store import tables
from keyvault.store.prepared import Prepared
from keyvault.store.rows import document_of, insert_new, insert_or_skip, text_of

_CALL = tables.idempotency


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call that was made before. There is no outcome while it is only begun."""

    request_hash: bytes
    status: Literal["begun", "done"]
    outcome: Document | None


Call = tuple[str, str, bytes]
"""(principal, Idempotency-Key, SHA-256 of the request)."""


class Idempotency:
    """The room of repeated calls in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, principal: str, key: str) -> Recorded | None:
        row = self._connection.execute(select(_CALL).where(*_same(principal, key))).first()
        if row is None:
            return None
        if row.outcome is None:
            return Recorded(row.request_hash, "begun", None)
        return Recorded(row.request_hash, "done", document_of(row.outcome))

    def begin(self, principal: str, key: str, request_hash: bytes) -> None:
        """Raises `ConflictError` if somebody was first: `find` says what came of it."""
        values = {"principal": principal, "key": key, "request_hash": request_hash}
        if not insert_new(self._connection, _CALL, **values):
            raise ConflictError("a call with this Idempotency-Key was made before")

    def finish(self, principal: str, key: str, outcome: Document) -> None:
        """Raises `NotFoundError` if the call was never begun."""
        done = update(_CALL).where(*_same(principal, key)).values(outcome=text_of(outcome))
        if self._connection.execute(done).rowcount != 1:
            raise NotFoundError("the call was never begun")

    def claim(self, calls: Sequence[Call]) -> None:
        """Begin many calls. Raises `ConflictError` if one was begun before: give it all up then.

        In the order of their keys, so that two recorders never wait for each other.
        """
        claim = _statements(self._connection.dialect).claim
        if calls and claim.execute(self._connection, sorted(calls)) < len(calls):
            raise ConflictError("a call with one of these Idempotency-Keys was made before")

    def settle(self, outcomes: Sequence[tuple[str, str, Document]]) -> None:
        """Finish many calls that were claimed: (principal, key, outcome) of each."""
        rows = [(text_of(outcome), principal, key) for principal, key, outcome in outcomes]
        if rows:
            _statements(self._connection.dialect).settle.execute(self._connection, rows)

    def forget(self, principal: str, key: str) -> None:
        """Take back a claim, for a call that was refused before it did anything."""
        self._connection.execute(delete(_CALL).where(*_same(principal, key)))


def _same(principal: str, key: str) -> tuple[ColumnElement[bool], ...]:
    return _CALL.c.principal == principal, _CALL.c.key == key


class _Statements:
    def __init__(self, dialect: Dialect) -> None:
        columns = "principal", "key", "request_hash"
        self.claim = Prepared(insert_or_skip(dialect, _CALL), dialect, columns)
        same = (_CALL.c.principal == bindparam("of")) & (_CALL.c.key == bindparam("with"))
        names = "outcome", "of", "with"
        self.settle = Prepared(update(_CALL).where(same), dialect, names, ("outcome",))


_statements = lru_cache(maxsize=8)(_Statements)
