"""How far each party is with what it may send to the authority at a time."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, update

from keyvault.domain.pacing import Pace
from keyvault.store import register_tables as tables
from keyvault.store.rows import insert_new, moment, ticks

_PACE = tables.submission_pace


class Paces:
    """The room of pace in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self, party: str, now: datetime) -> Pace:
        """A party's pace, which nobody else can change before the commit."""
        insert_new(self._connection, _PACE, **_row(Pace(party, now.date())))
        query = select(_PACE).where(_PACE.c.party == party).with_for_update()
        row = self._connection.execute(query).one()
        batch = UUID(row.batch) if row.batch else None
        return Pace(party, date.fromisoformat(row.day), row.alone, batch, moment(row.busy_until))

    def put(self, pace: Pace) -> None:
        """Store what was made of a pace that was locked."""
        change = update(_PACE).where(_PACE.c.party == pace.party)
        self._connection.execute(change.values(**_row(pace)))


def _row(pace: Pace) -> dict[str, Any]:
    return {
        "party": pace.party,
        "day": pace.day.isoformat(),
        "alone": pace.alone,
        "batch": str(pace.batch) if pace.batch else "",
        "busy_until": ticks(pace.busy_until),
    }
