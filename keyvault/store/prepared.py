"""Statements of the hot path, where SQLAlchemy's own layers would cost more than the database."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.expression import Executable


class Prepared:
    """A statement compiled once; the driver gets its text and bare rows, and no layer between.

    Only for columns of numbers, texts and bytes, which both drivers take as they are.
    """

    def __init__(self, statement: Executable, dialect: Dialect, columns: Sequence[str]) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(columns) or None)  # type: ignore[attr-defined]
        self.text = str(compiled)
        self._order: list[str] | None = compiled.positiontup

    def execute(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
        """Run it once for each row; return how many rows of the table were touched."""
        order = self._order
        if order is not None:
            arranged = [tuple([row[name] for name in order]) for row in rows]
        cursor = connection.connection.cursor()
        cursor.executemany(self.text, list(rows) if order is None else arranged)
        touched = cursor.rowcount
        cursor.close()
        return touched

    def first(self, connection: Connection) -> tuple[Any, ...] | None:
        """Run it without parameters and return the first row."""
        cursor = connection.connection.cursor()
        cursor.execute(self.text)
        row: tuple[Any, ...] | None = cursor.fetchone()
        cursor.close()
        return row
