"""What all rooms do with rows: times, documents, and inserts that may find themselves second."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
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
    insert = insert_or_skip(connection.dialect, table).values(**values)
    return connection.execute(insert.returning(*table.primary_key)).first() is not None
