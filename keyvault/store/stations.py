"""Stations: the last word of each on its reader."""

from typing import Any

from sqlalchemy import Connection, Row, select, update

from keyvault.domain.stations import Station, StationState
from keyvault.store import issue_tables as tables
from keyvault.store.rows import insert_new, moment, ticks

_STATION = tables.station


class Stations:
    """The room of stations in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> dict[str, Station]:
        """Every station that was ever heard of, by name."""
        return {row.name: _station(row) for row in self._connection.execute(select(_STATION))}

    def lock(self, unheard: Station) -> Station:
        """A station as it was last heard, which nobody else can change before the commit.

        One that was never heard of is as `unheard` says.
        """
        insert_new(self._connection, _STATION, **_row(unheard))
        query = select(_STATION).where(_STATION.c.name == unheard.name).with_for_update()
        return _station(self._connection.execute(query).one())

    def put(self, station: Station) -> None:
        """Store what was made of a station that is there."""
        change = update(_STATION).where(_STATION.c.name == station.name)
        self._connection.execute(change.values(**_row(station)))


def _row(station: Station) -> dict[str, Any]:
    return {
        "name": station.name,
        "state": str(station.state),
        "reader": station.reader,
        "person": station.person,
        "alarm": station.alarm,
        "since": ticks(station.since),
        "heard_at": ticks(station.heard_at),
    }


def _station(row: Row[Any]) -> Station:
    return Station(
        name=row.name,
        state=StationState(row.state),
        reader=row.reader,
        person=row.person,
        since=moment(row.since),
        heard_at=moment(row.heard_at),
        alarm=row.alarm,
    )
