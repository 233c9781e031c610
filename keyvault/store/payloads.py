"""What events say: what there is of it that is old, and erasing it."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection, select, update

from keyvault.store import tables
from keyvault.store.rows import ticks

_EVENT, _PAYLOAD = tables.event, tables.event_payload
_PLACES = 50_000  # events found at once, by the index of types
_STRIDE = 1_000  # rows read or changed at once


class Payloads:
    """What events say, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def older(
        self, types: Sequence[str], before_ms: int, size: int, start: int = 0
    ) -> Iterator[tuple[int, str, str]]:
        """Yield index, stream and actor of events that have a payload, of these types and times.

        From `start` on, of the first `size` events, in order. Few pages of many places: for each
        the whole index of these types is read, and rows only where it found something.
        """
        chosen = select(_EVENT.c.idx).where(
            _EVENT.c.type.in_(types), _EVENT.c.time_ms < before_ms, _EVENT.c.idx < size
        )
        after = start - 1
        while True:
            page = chosen.where(_EVENT.c.idx > after).order_by(_EVENT.c.idx).limit(_PLACES)
            places = self._connection.scalars(page).all()
            for at in range(0, len(places), _STRIDE):
                yield from self._kept(places[at : at + _STRIDE])
            if len(places) < _PLACES:
                return
            after = places[-1]

    def _kept(self, places: Sequence[int]) -> Iterator[tuple[int, str, str]]:
        columns = select(_EVENT.c.idx, _EVENT.c.stream, _EVENT.c.actor)
        joined = columns.join(_PAYLOAD, _EVENT.c.idx == _PAYLOAD.c.idx)
        kept = joined.where(_EVENT.c.idx.in_(places), _PAYLOAD.c.salt.is_not(None))
        rows = self._connection.execute(kept.order_by(_EVENT.c.idx)).all()
        yield from ((row.idx, row.stream, row.actor) for row in rows)


def erase(connection: Connection, events: Sequence[int], now: datetime) -> None:
    """Erase what events say. Their leaves stay, and with them every proof."""
    gone = {"salt": None, "payload": None, "erased_at": ticks(now)}
    for at in range(0, len(events), _STRIDE):
        some = _PAYLOAD.c.idx.in_(events[at : at + _STRIDE])
        connection.execute(update(_PAYLOAD).where(some).values(gone))
