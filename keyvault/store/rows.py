"""What all rooms do with rows: times, documents, and inserts that may find themselves second."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from keyvault.domain.canonical import Document, Json, canonical, parse

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_INSERT: dict[str, Callable[[Table], postgresql.Insert | sqlite.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}
_DOCUMENT_LIMIT = 1 << 20  # bytes


def ticks(moment: datetime) -> int:
    """Return whole microseconds since 1970 UTC."""
    return (moment - _EPOCH) // _TICK


def moment(count: int) -> datetime:
    return _EPOCH + count * _TICK


def text_of(document: Json) -> str:
    return canonical(document).decode()


def document_of(text: str) -> Document:
    return parse(text.encode(), max_size=_DOCUMENT_LIMIT)


def insert_or_skip(dialect: Dialect, table: Table) -> Any:
    """An insert that leaves rows alone that are there. An error would end the transaction."""
    return _INSERT[dialect.name](table).on_conflict_do_nothing()


def insert_new(connection: Connection, table: Table, **values: Any) -> bool:
    """Insert a row unless its key is taken; whether it was inserted."""
    return connection.execute(_new(connection.dialect, table), values).first() is not None


@lru_cache(maxsize=256)
def _new(dialect: Dialect, table: Table) -> Any:
    return insert_or_skip(dialect, table).returning(*table.primary_key)
