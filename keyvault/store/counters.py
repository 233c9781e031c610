"""Originator counters: how far each series is."""

from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from keyvault.domain.counters import Counter, Series
from keyvault.domain.gbcs import CellUsage
from keyvault.store import tables
from keyvault.store.paging import Order
from keyvault.store.rows import insert_new, ticks

_COUNTER = tables.originator_counter
_ORDER = Order(_COUNTER.c.created_at, _COUNTER.c.series, str)


class Counters:
    """The room of counters in one transaction."""

    def __init__(self, connection: Connection, *, writes: bool) -> None:
        self._connection = connection
        self._writes = writes

    def get(self, series: Series) -> Counter:
        """A series that nobody has used yet is at its beginning. Who writes has it alone."""
        query = select(_COUNTER).where(_COUNTER.c.series == str(series))
        if self._writes:
            query = query.with_for_update()
        row = self._connection.execute(query).first()
        return Counter(series) if row is None else _counter(row)

    def lock(self, series: Series, now: datetime) -> Counter:
        """The same, and its row is there and nobody else can change it before the commit."""
        start = {"created_at": ticks(now), "issued": 0, "floor": 0, **_named(series)}
        insert_new(self._connection, _COUNTER, **start)
        return self.get(series)

    def put(self, counter: Counter) -> None:
        """Store what was made of a counter that was locked."""
        same = _COUNTER.c.series == str(counter.series)
        values = {"issued": counter.issued, "floor": counter.floor}
        self._connection.execute(update(_COUNTER).where(same).values(**values))

    def page(
        self, *, parties: AbstractSet[str] | None, after: str | None, limit: int
    ) -> tuple[list[Counter], str | None]:
        """List series in the order in which they began."""
        query = select(_COUNTER)
        if parties is not None:
            query = query.where(_COUNTER.c.party.in_(sorted(parties)))
        rows, following = _ORDER.page(self._connection, query, after, limit)
        return [_counter(row) for row in rows], following


def _named(series: Series) -> dict[str, Any]:
    return {
        "series": str(series),
        "party": series.party,
        "originator": series.originator,
        "cell_usage": str(series.cell_usage),
        "recipient": series.recipient,
    }


def _counter(row: Row[Any]) -> Counter:
    usage = CellUsage(row.cell_usage)
    return Counter(Series(row.party, row.originator, usage, row.recipient), row.issued, row.floor)
