"""Pages by keyset: a page costs the same wherever it lies, and a new row never shifts it."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    func,
    literal,
    select,
    tuple_,
    union_all,
)

from keyvault.domain.errors import InvalidInputError

_Place = tuple[Any, ...]  # time, id, and the value that it was found by
_Among = tuple[Connection, Select[Any], Column[Any], str | None]  # where it is looked for

MAX_LIMIT = 1_000
_FEW = 1_000  # rows that are looked at one by one for a page
_VALUES = 100  # asked for in one statement; SQLite takes 500


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
        rows = connection.execute(self._ordered(query, after).limit(limit + 1)).all()
        if len(rows) <= limit:
            return rows, None
        return rows[:limit], self._cursor(rows[limit - 1])

    def _ordered(self, query: Select[Any], after: str | None) -> Select[Any]:
        order: list[Any] = [self.time, self.id]
        if after is not None:
            here, there = tuple_(*order), self._parse(after)
            query = query.where(here < there if self.newest_first else here > there)
        if self.newest_first:
            order = [column.desc() for column in order]
        return query.order_by(*order)

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
        the database would sort all rows of all of them for one page. Only the places are merged;
        rows are read of those that the page has. First every value gives twice its even share of
        the page; those of which all that came is on the page are asked for a whole one.
        """
        whole, every = limit + 1, sorted(values)
        share = min(whole, 2 * whole // max(len(every), 1) + 1)
        among = connection, query, column, after
        places = self._merged(among, every, share)
        given = Counter(place[2] for place in places[:whole])
        more = [value for value, count in given.items() if count == share < whole]
        if more:
            others = [place for place in places if place[2] not in more]
            places = self._in_order([*others, *self._merged(among, more, whole)])
        chosen = [place[1] for place in places[:whole]]
        return self.page(connection, query.where(self.id.in_(chosen)), after, limit)

    def _merged(self, among: _Among, values: list[str], count: int) -> list[_Place]:
        """The first places of each of these values, all in order."""
        connection, query, column, after = among
        places: list[_Place] = []
        for start in range(0, len(values), _VALUES):
            some = values[start : start + _VALUES]
            parts = [self._places(query.where(column == one), column, after, count) for one in some]
            places += [tuple(row) for row in connection.execute(union_all(*parts))]
        return self._in_order(places)

    def _in_order(self, places: list[_Place]) -> list[_Place]:
        return sorted(places, key=lambda place: place[:2], reverse=self.newest_first)

    def _places(
        self, query: Select[Any], column: Column[Any], after: str | None, count: int
    ) -> Select[Any]:
        """Where the rows of one value lie: read from an index alone."""
        ordered = self._ordered(query.with_only_columns(self.time, self.id, column), after)
        return select(ordered.limit(count).subquery())

    def _cursor(self, row: Row[Any]) -> str:
        values = row._mapping  # noqa: SLF001  (SQLAlchemy's public name for it)
        return f"{values[self.time]}.{values[self.id]}"

    def _parse(self, cursor: str) -> Any:
        time, _, id_ = cursor.partition(".")
        try:
            place = int(time), self.read_id(id_)
        except ValueError as error:
            raise InvalidInputError("this is no cursor of ours") from error
        return tuple_(literal(place[0], self.time.type), literal(place[1], self.id.type))


def searched_by_few(
    connection: Connection, filters: list[ColumnElement[bool]], times: list[ColumnElement[bool]]
) -> list[ColumnElement[bool]]:
    """Of several filters, let SQLite search by one that few rows of these times pass.

    It keeps no statistics and would take the index of any, and read a million events for the ten
    of a rare type. PostgreSQL knows what is rare.
    """
    if len(filters) <= 1 or connection.dialect.name != "sqlite":
        return filters
    counts = [
        select(func.count())
        .select_from(select(literal(1)).where(one, *times).limit(_FEW).subquery())
        .scalar_subquery()
        for one in filters
    ]
    found = connection.execute(select(*counts)).one()
    chosen = found.index(min(found))
    return [one if at == chosen else one.is_(True) for at, one in enumerate(filters)]
