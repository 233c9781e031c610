"""Stations: what a desk says of its reader, and what has lasted too long. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum


class StationState(StrEnum):
    """What a desk's program says of the reader at its station."""

    READY = "ready"
    READER_GONE = "reader-gone"
    SERVICE_GONE = "pcscd-gone"
    LEFT = "left"  # the program ended as it should


GONE = frozenset({StationState.READER_GONE, StationState.SERVICE_GONE})
SILENT = "silent"  # nothing is heard of it: its program, its computer or its line is gone
UNHEARD = "unheard"  # nobody ever worked there
STATION_NAME = 40  # characters
READER_NAME = 120  # characters; PC/SC itself gives no name a limit, and pcscd one of 127 bytes
WORDS = 4  # times a desk speaks within the time that is waited for it


@dataclass(frozen=True, slots=True)
class Station:
    """The last word of one. `since` is when it became ready, gone or left, and by whom.

    `alarm` is what it was last said to have lasted too long: empty, a state, or `SILENT`.
    """

    name: str
    state: StationState
    reader: str
    person: str
    since: datetime
    heard_at: datetime
    alarm: str = ""

    def heard(self, state: StationState, reader: str, person: str, now: datetime) -> "Station":
        """Return it with its newest word. A reader that is gone in another way is gone as long."""
        same = state is self.state or {state, self.state} <= GONE
        since = self.since if same else now
        return replace(self, state=state, reader=reader, person=person, since=since, heard_at=now)

    def shown(self, now: datetime, patience: timedelta) -> str:
        """What is true of it now: its state, or `SILENT`."""
        silent = self.state is not StationState.LEFT and now - self.heard_at >= patience
        return SILENT if silent else str(self.state)

    def lasting(self, now: datetime, patience: timedelta) -> str:
        """What is wrong with it for longer than anybody waits; empty if nothing is."""
        if self.state in GONE and now - self.since >= patience:
            return str(self.state)
        shown = self.shown(now, patience)
        return shown if shown == SILENT else ""
