"""A batch at several stations side by side: one thread and one connection each, one supervisor."""

import queue
import threading
from collections.abc import Callable
from uuid import UUID

from cli.desk.relaying import AGAIN, inserted
from cli.remote.client import Server
from hsm.pcsc.supervisor import ReaderEvent, ReaderSupervisor, Seen
from keyvault.domain.canonical import Document
from keyvault.domain.errors import VaultError

Say = Callable[[str], None]
INSERT_SECONDS = 600.0  # that a station waits for its next token


def run_batch(
    connect: Callable[[], Server], batch: UUID, places: list[tuple[str, str]], say: Say
) -> Document:
    """Make what is open in a batch at (station, reader) each; return its reconciliation."""
    work = _Work(connect(), batch)
    stations = [_Place(station, reader, connect(), work, say) for station, reader in places]
    by_reader = {place.reader: place.events for place in stations}

    def tell(event: ReaderEvent) -> None:
        if event.reader in by_reader:
            by_reader[event.reader].put(event)
        elif event.seen in (Seen.SERVICE_LOST, Seen.SERVICE_BACK):
            say(f"the card service: {event.seen}")

    threads = [threading.Thread(target=place.run, daemon=True) for place in stations]
    with ReaderSupervisor(tell):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return work.server.get(f"/v1/issuing/batches/{batch}")


class _Work:
    """The jobs that wait; each is given to one station."""

    def __init__(self, server: Server, batch: UUID) -> None:
        self.server = server
        self._lock = threading.Lock()
        found = [
            job
            for standing in ("interrupted", "open")
            for job in server.get("/v1/issuing/jobs", batch=batch, standing=standing, limit=200)[
                "items"
            ]
        ]
        self._left = [dict(job) for job in found]

    def next(self) -> Document | None:
        with self._lock:
            return self._left.pop() if self._left else None


class _Place:
    """One station and its reader."""

    def __init__(self, station: str, reader: str, server: Server, work: _Work, say: Say) -> None:
        self.reader = reader
        self.events: queue.Queue[ReaderEvent] = queue.Queue()
        self._station = station
        self._server = server
        self._work = work
        self._tell = say

    def run(self) -> None:
        while (job := self._work.next()) is not None:
            try:
                self._make(job)
            except (VaultError, queue.Empty) as error:
                self._say(f"{str(error) or 'no token came'}: this station stops")
                return
        self._say("nothing is left to do")

    def _make(self, job: Document) -> None:
        token = self._server.get(f"/v1/tokens/{job['token']}")
        self._say(f"put in token {token['serial']} for {token['holder']}")
        path = f"/v1/issuing/jobs/{job['id']}"
        while True:
            self._until(Seen.CARD_INSERTED)
            ended = inserted(self._server, path, self._station, self.reader, self._say)
            if ended["do"] == "done" or ended["code"] not in AGAIN:
                break
            self._say("put the SAME token in again: nothing is lost")
        self._say(str(ended.get("guidance") or f"{ended.get('detail')}: {ended.get('next_step')}"))
        self._until(Seen.CARD_REMOVED)

    def _until(self, seen: Seen) -> None:
        while self.events.get(timeout=INSERT_SECONDS).seen is not seen:
            pass

    def _say(self, what: str) -> None:
        self._tell(f"{self._station}: {what}")
