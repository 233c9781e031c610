"""Statements of the hot path, where SQLAlchemy's own layers would cost more than the database."""

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, PoolProxiedConnection, literal_column
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.expression import Executable

from keyvault.store.engine import driver_of

_NAMED = re.compile(r"%\((\w+)\)s")  # psycopg's
_MANY = "_so_many_values_"
# What a column is `in_`, in a statement that is asked by `among`.
MANY: list[ColumnElement[Any]] = [literal_column(_MANY)]


class Prepared:
    """A statement compiled once; the driver gets its text and bare rows, and no layer between.

    `names` are its parameters in the order of a row, and `columns` those of them that are columns
    to be set. Only numbers, texts and bytes, which both drivers take as they are.
    """

    def __init__(
        self,
        statement: Executable,
        dialect: Dialect,
        names: Sequence[str] = (),
        columns: Sequence[str] | None = None,
    ) -> None:
        keys = list(names if columns is None else columns) or None
        compiled = statement.compile(dialect=dialect, column_keys=keys)  # type: ignore[attr-defined]
        text = str(compiled)
        order = compiled.positiontup or _NAMED.findall(text)
        self.text = _NAMED.sub("%s", text)
        self._place = "?" if dialect.paramstyle == "qmark" else "%s"
        self._arrange = None
        if order != list(names):
            self._arrange = itemgetter(*map(names.index, order))

    def execute(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run it once for each row; return how many rows of the table were touched."""
        cursor = driver_of(connection).cursor()
        cursor.executemany(self.text, rows if self._arrange is None else map(self._arrange, rows))
        touched: int = cursor.rowcount
        cursor.close()
        return touched

    def first(
        self, connection: Connection | PoolProxiedConnection, *row: Any
    ) -> tuple[Any, ...] | None:
        """Run it with these parameters, or none, and return the first row."""
        cursor = driver_of(connection).cursor()
        cursor.execute(self.text, row)
        first: tuple[Any, ...] | None = cursor.fetchone()
        cursor.close()
        return first

    def among(self, connection: Connection, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run it for what is in these values, at least one, where it says `in_(MANY)`."""
        cursor = driver_of(connection).cursor()
        cursor.execute(self.text.replace(_MANY, ", ".join([self._place] * len(values))), values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        cursor.close()
        return rows
