"""Pages by keyset: a page costs the same wherever it lies, and a new row never shifts it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, literal, tuple_

from keyvault.domain.errors import InvalidInputError

MAX_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Order:
    """By a time and then by an id, both columns of the index that every filter has."""

    time: Column[int]
    id: Column[Any]
    read_id: Callable[[str], int | str]
    newest_first: bool = False

    def page(
        self, connection: Connection, query: Select[Any], after: str | None, limit: int
    ) -> tuple[Sequence[Row[Any]], str | None]:
        """Return up to `limit` rows and the cursor of the next page, if there is one."""
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidInputError(f"a page has 1 to {MAX_LIMIT} rows")
        order: list[Any] = [self.time, self.id]
        if after is not None:
            here, there = tuple_(*order), self._parse(after)
            query = query.where(here < there if self.newest_first else here > there)
        if self.newest_first:
            order = [column.desc() for column in order]
        rows = connection.execute(query.order_by(*order).limit(limit + 1)).all()
        if len(rows) <= limit:
            return rows, None
        return rows[:limit], self._cursor(rows[limit - 1])

    def page_among(
        self,
        connection: Connection,
        query: Select[Any],
        column: Column[Any],
        values: Collection[str],
        after: str | None,
        limit: int,
    ) -> tuple[Sequence[Row[Any]], str | None]:
        """Do as `page` does with the rows whose `column` has one of these values.

        Each value is asked for by itself, since no index has several of them in one order: else
        the database would sort all rows of all of them for one page.
        """
        found: list[Row[Any]] = []
        for value in values:
            rows, _ = self.page(connection, query.where(column == value), after, limit)
            found += rows
            if len(rows) == limit:  # there may be one more, which decides whether a page follows
                last = self._cursor(rows[-1])
                found += self.page(connection, query.where(column == value), last, 1)[0]
        found.sort(key=self._place, reverse=self.newest_first)
        if len(found) <= limit:
            return found, None
        return found[:limit], self._cursor(found[limit - 1])

    def _place(self, row: Row[Any]) -> tuple[Any, Any]:
        return row._mapping[self.time], row._mapping[self.id]  # noqa: SLF001  (SQLAlchemy's public name)

    def _cursor(self, row: Row[Any]) -> str:
        time, id_ = self._place(row)
        return f"{time}.{id_}"

    def _parse(self, cursor: str) -> Any:
        time, _, id_ = cursor.partition(".")
        try:
            place = int(time), self.read_id(id_)
        except ValueError as error:
            raise InvalidInputError("this is no cursor of ours") from error
        return tuple_(literal(place[0], self.time.type), literal(place[1], self.id.type))
