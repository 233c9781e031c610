"""A batch at several stations side by side: one thread and one connection each, one supervisor."""

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from cli.desk.relaying import AGAIN, inserted
from cli.desk.reporting import WORDS, Reports
from cli.desk.screen import Screen, Sight
from cli.errors import ProblemError
from cli.remote.client import Server
from cli.remote.token_papers import labelled
from hsm.errors import HsmError
from hsm.pcsc.supervisor import ReaderEvent, ReaderSupervisor, Seen
from keyvault.domain.canonical import Document
from keyvault.domain.errors import VaultError
from keyvault.domain.issuing import SECOND_PERSON_AFTER, Standing

INSERT_SECONDS = 900.0  # that a station waits for somebody to put a token in or take it out
TICK = 0.5  # seconds until a station notices that its operator wants to leave
# What stands in the way of one token, and of no other.
ASIDE = ("issue-state", "token-state", "token-duplicate", "conflict", "not-found")
OUT = (Seen.CARD_REMOVED, Seen.READER_REMOVED)


class _Left(Exception):  # noqa: N818  (no error: the operator wants to go)
    pass


def run_batch(
    connect: Callable[[], Server],
    batch: UUID,
    places: list[tuple[str, str]],
    labels: Path | None = None,
) -> tuple[Document, bool]:
    """Make what is open in a batch at (station, reader) each.

    Return its reconciliation, and whether its operator left. Each finished token's label is
    written into `labels`, if that is given. ^C leaves: what is in a reader is finished first.
    """
    work = _Work(connect(), batch)
    with Screen([station for station, _ in places], work.title()) as screen:
        stations = [_Place(*place, connect(), work, screen, labels) for place in places]
        with Reports(connect(), dict(places), screen.tell) as reports:
            _run(stations, screen, work.leaving, reports)
    return work.reconciled(), work.leaving.is_set()


def _run(
    stations: "list[_Place]", screen: Screen, leaving: threading.Event, reports: Reports
) -> None:
    by_reader = {place.reader: place.events for place in stations}

    def tell(event: ReaderEvent) -> None:
        reports.tell(event)
        if event.reader in by_reader:
            by_reader[event.reader].put(event)
        elif event.seen in (Seen.SERVICE_LOST, Seen.SERVICE_BACK):
            screen.tell(WORDS[event.seen])

    threads = [threading.Thread(target=place.run, daemon=True) for place in stations]
    with ReaderSupervisor(tell):
        for thread in threads:
            thread.start()
        try:
            _wait(stations)
        except KeyboardInterrupt:
            leaving.set()
            screen.tell("what is in a reader is finished, then this ends; ^C again: at once")
            _wait(stations)


def _wait(stations: "list[_Place]") -> None:
    """Until all have ended. A join that ^C interrupted takes its thread for dead ever after."""
    for place in stations:
        place.ended.wait()


class _Work:
    """The jobs that wait; each is given to one station."""

    def __init__(self, server: Server, batch: UUID) -> None:
        self._server = server
        self._batch = batch
        self._lock = threading.Lock()
        self.leaving = threading.Event()
        # Begun ones first: they are at hand. Certificates that are awaited have to be here.
        waiting = {Standing.OPEN: 1, Standing.INTERRUPTED: 0, Standing.AWAITING: 0}
        found = [one for one in self.reconciled()["items"] if one["standing"] in waiting]
        found = [one for one in found if one["standing"] != Standing.AWAITING or self._may(one)]
        self._left = sorted(found, key=lambda one: waiting[one["standing"]])

    def _may(self, one: Document) -> bool:
        return not self._server.get(f"/v1/issuing/jobs/{one['job']}")["awaited"]

    def next(self) -> Document | None:
        with self._lock:
            return self._left.pop(0) if self._left and not self.leaving.is_set() else None

    def reconciled(self) -> Document:
        return self._server.get(f"/v1/issuing/batches/{self._batch}")

    def title(self) -> str:
        with self._lock:
            found = self.reconciled()
        return f"batch of {found['tokens']}: {counted(found)}"


def counted(batch: Document) -> str:
    """How a batch stands, in a line."""
    return f"{batch['out']} finished, {batch['spoiled']} spoiled, {batch['open']} to do"


class _Place:
    """One station and its reader."""

    def __init__(
        self,
        station: str,
        reader: str,
        server: Server,
        work: _Work,
        screen: Screen,
        labels: Path | None,
    ) -> None:
        self.reader = reader
        self.events: queue.Queue[ReaderEvent] = queue.Queue()
        self.ended = threading.Event()
        self._station = station
        self._server = server
        self._work = work
        self._screen = screen
        self._labels = labels
        self._token = ""

    def run(self) -> None:
        try:
            while (job := self._work.next()) is not None:
                self._token = str(job["serial"])
                self._make(job)
            self._ends("nothing is left to do here")
        except _Left:
            self._ends("left")
        except queue.Empty:
            self._ends("nobody came for a quarter of an hour", "begin again: the batch goes on")
        except (VaultError, HsmError) as error:
            self._ends(f"this station stops: {error}", error.next_step)
        finally:
            self.ended.set()

    def _make(self, job: Document) -> None:
        path = f"/v1/issuing/jobs/{job['job']}"
        self._show("PUT IT IN", f"the token with this number, for {job['holder']}")
        while not self._tried(path, str(job["token"])):
            pass
        self._screen.count(self._work.title())
        self._until(*OUT)

    def _tried(self, path: str, token: str) -> bool:
        """One insertion. Whether the station is done with this token, well or not."""
        self._until(Seen.CARD_INSERTED)
        self._show("LEAVE IT IN", "reading the token")
        ended = self._inserted(path)
        job = self._server.get(path)
        if job["standing"] == Standing.DONE:
            return self._finished(token)
        if job["standing"] in (Standing.QUARANTINED, Standing.ABANDONED):
            return self._keep("TAKE IT OUT and lay it with those to be destroyed", told(ended))
        if job["standing"] == Standing.AWAITING:
            return self._keep("TAKE IT OUT and lock it up", str(job["guidance"]))
        if ended["code"] == "card-foreign":
            self._keep("TAKE IT OUT: it is not this one. Put in the right one", told(ended))
        elif ended["code"] in AGAIN and job["interruptions"] < SECOND_PERSON_AFTER:
            self._show("PUT THE SAME ONE IN AGAIN: nothing is lost", _how_far(job))
        else:
            return self._keep("TAKE IT OUT and lay it aside: it is not done", told(ended))
        return False

    def _inserted(self, path: str) -> Document:
        try:
            return inserted(self._server, path, self._station, self.reader, self._told)
        except ProblemError as error:
            if error.code not in ASIDE:
                raise
            return {"code": error.code, "detail": str(error), "next_step": error.next_step}

    def _finished(self, token: str) -> bool:
        where = ""
        if self._labels is not None:
            path = self._labels / f"{token}.pdf"
            path.write_bytes(labelled(self._server.get(f"/v1/tokens/{token}")).pdf())
            where = f"its label: {path.name}"
        return self._keep("TAKE IT OUT, label it, hand it to who dispatches", where)

    def _until(self, *wanted: Seen) -> None:
        """Raises `_Left`, and `queue.Empty` when nobody came for long."""
        deadline = time.monotonic() + INSERT_SECONDS
        while not self._work.leaving.is_set():
            try:
                seen = self.events.get(timeout=TICK).seen
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise
                continue
            if seen in wanted:
                return
            if seen is Seen.READER_REMOVED:
                self._show("PLUG THE READER IN", f"{self.reader} is gone")
        raise _Left

    def _told(self, progress: str) -> None:
        self._show("LEAVE IT IN", progress)

    def _show(self, do: str, why: str = "") -> None:
        self._screen.show(self._station, Sight(do, why, self._token))

    def _keep(self, do: str, why: str = "") -> bool:
        self._screen.keep(self._station, Sight(do, why, self._token))
        return True

    def _ends(self, what: str, why: str = "") -> None:
        self._screen.keep(self._station, Sight(what, why))


def told(ended: Document) -> str:
    """Why an insertion did not end well, and what to do about it."""
    return ". ".join(str(ended[name]) for name in ("detail", "next_step") if ended.get(name))


def _how_far(job: Document) -> str:
    left, tries = SECOND_PERSON_AFTER - job["interruptions"], job["tries"]
    said = [f"it was pulled after the step {job['step']!r}"]
    said += [f"{tries} PIN tries left"] if tries is not None else []
    said += [f"pulled {left} more {'time' if left == 1 else 'times'}, another issuer goes on"]
    return "; ".join(said)
