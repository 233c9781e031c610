"""The shipper: brings copies of events to other systems. Nobody waits for it.

Every stream has a thread and a place in the log of its own, so that one that is dead or slow
stalls neither key work nor the others. A copy may come twice after a crash and is told by its
index; it never comes out of order.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from uuid import uuid4

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError, VaultError
from keyvault.domain.streams import Choice, Copy
from keyvault.office import Stop, hold
from keyvault.settings import Settings, SinkSettings
from keyvault.sinks import Sink, sink_of
from keyvault.store import Database, LoggedEvent

BATCH = 200  # events
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds before a stream that failed is tried again
IDLE = 1.0  # seconds between two looks at the log
ACTOR = "service:shipper"
log = logging.getLogger("shipper")


class Stream:
    """One way out. `turn` ships what is new, once."""

    def __init__(self, database: Database, settings: SinkSettings, sink: Sink) -> None:
        self._database = database
        self._settings = settings
        self._sink = sink
        self._choice = Choice(settings.types, settings.outcomes)
        self.pause = 0.0

    def turn(self) -> int:
        """Ship a batch; return how many events were passed, shipped or not.

        What fails is told once, and tried again after `pause`.
        """
        name = self._settings.name
        with self._database.reading() as reading:
            position = reading.audit.position(name)
            events = list(reading.audit.events(position, position + BATCH))
        if not events:
            return 0
        copies = [self._copy(event) for event in events if self._choice.takes(event.header)]
        try:
            if copies:
                self._sink.take(copies)
        except OSError as error:
            self.pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
            self._failed(f"{type(error).__name__}: {error}"[:200], position)
            return 0
        self.pause = 0.0
        with self._database.sealing() as seals:
            seals.move(name, position + len(events))
        self._see_whether_it_keeps_up(events[-1], position + len(events))
        return len(events)

    def _copy(self, event: LoggedEvent) -> Copy:
        shown = self._settings.payload and event.payload is not None
        payload = json.loads(event.payload or b"null") if shown else None
        return Copy(event.index, event.leaf_hash, event.header, payload)

    def _see_whether_it_keeps_up(self, last: LoggedEvent, position: int) -> None:
        behind = int(time.time() - last.time.timestamp())
        if behind > self._settings.alarm_after:
            self._failed(f"too slow: it is {behind} s behind", position)
        elif self._trouble():
            self._note(EventType.STREAM_RECOVERED, Outcome.OK, {"position": position})

    def _trouble(self) -> bool:
        with self._database.reading() as reading:
            newest = reading.audit.newest_of(f"stream:{self._settings.name}")
        return newest is not None and newest.header["ty"] == EventType.STREAM_FAILED

    def _failed(self, reason: str, position: int) -> None:
        if not self._trouble():
            log.warning("stream %s: %s", self._settings.name, reason)
            payload: Document = {"reason": reason, "position": position}
            self._note(EventType.STREAM_FAILED, Outcome.FAIL, payload)

    def _note(self, kind: EventType, outcome: Outcome, payload: Document) -> None:
        name = self._settings.name
        told: Document = {"name": name, **payload}
        with self._database.work() as work:
            work.commit(AuditEvent(kind, outcome, uuid4(), f"stream:{name}", ACTOR, told))

    def live(self, stop: Stop, holds: Callable[[], bool]) -> None:
        """Ship until `stop`."""
        while not stop.is_set():
            shipped = 0
            try:
                if holds():
                    shipped = self.turn()
            except (VaultError, OSError) as error:
                log.warning("stream %s: %s", self._settings.name, error)
            if shipped < BATCH:
                stop.wait(self.pause or IDLE)
        self._sink.close()


def run(settings: Settings, stop: Stop) -> None:
    """Ship while this process is the elected one, until `stop`."""
    if not settings.streams:
        raise InvalidInputError("the settings name no streams", next_step="see docs/streams.md")
    database = Database(settings.database, settings.node)
    try:
        streams = [Stream(database, one, sink_of(one, settings)) for one in settings.streams]
        with database.election("shipper") as holds:
            elected = threading.Event()
            threads = [
                threading.Thread(target=stream.live, args=(stop, elected.is_set), daemon=True)
                for stream in streams
            ]
            for thread in threads:
                thread.start()
            while not stop.wait(IDLE):  # one asks for all: the lock belongs to one connection
                (elected.set if holds() else elected.clear)()
    finally:
        database.close()


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT."""
    return hold("shipper", __doc__, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
