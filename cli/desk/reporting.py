"""Tells the service how the readers of this desk are, beside the work with the cards in them.

What cannot be told now is told later. No work here waits for it, and none fails by it.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from cli.output import printable
from hsm.pcsc.supervisor import ReaderEvent, ReaderSupervisor, Seen
from keyvault.domain.canonical import Document
from keyvault.domain.errors import VaultError
from keyvault.domain.stations import READER_NAME, StationState

PATH = "/v1/issuing/stations/reports"
PAUSE = 3.0  # seconds between two words: what changed back meanwhile is not told
LAST_WORD = 5.0  # seconds that may be spent on saying goodbye
UNTOLD = 10.0  # seconds until what the service did not take is tried again
CARDS = (Seen.CARD_INSERTED, Seen.CARD_REMOVED)
WORDS: Mapping[Seen, str] = {
    Seen.READER_ADDED: "{} is there",
    Seen.READER_REMOVED: "{} is gone: plug it in",
    Seen.SERVICE_LOST: "the card service (pcscd) is gone: wait, or have it started again",
    Seen.SERVICE_BACK: "the card service is back: go on",
}


class Caller(Protocol):
    def post(self, path: str, body: Document | None = None) -> Document: ...


class Readers:
    """What a supervisor has told: which readers are there. Any thread may ask."""

    def __init__(self) -> None:
        self._there: set[str] = set()
        self._lost = False
        self._looked = False

    def note(self, event: ReaderEvent) -> None:
        match event.seen:
            case Seen.READER_ADDED:
                self._there.add(event.reader)
            case Seen.READER_REMOVED:
                self._there.discard(event.reader)
            case Seen.SERVICE_LOST | Seen.SERVICE_BACK:
                self._lost = event.seen is Seen.SERVICE_LOST
            case Seen.LOOKED:
                self._looked = True
            case Seen.CARD_INSERTED | Seen.CARD_REMOVED:
                pass

    @property
    def known(self) -> bool:
        """Whether anybody has looked, or tried to."""
        return self._looked or self._lost

    def state(self, reader: str) -> StationState:
        if self._lost:
            return StationState.SERVICE_GONE
        return StationState.READY if reader in self._there else StationState.READER_GONE


class Reports:
    """A context manager with a thread, for some stations: `places` names the reader at each.

    `tell` takes what a supervisor sees; nothing is said before it has looked. `server` is this
    thread's own. At the end each station has left.
    """

    def __init__(
        self, server: Caller, places: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self._server = server
        self._places = places
        self._say = say
        self._readers = Readers()
        self._refused = ""
        self._spoke = False
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._speak, name="reports", daemon=True)

    def tell(self, event: ReaderEvent) -> None:
        """Never waits."""
        self._readers.note(event)
        if event.seen not in CARDS and self._readers.known:
            self._changed.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._changed.set()
        self._thread.join(LAST_WORD)

    def _speak(self) -> None:
        again: float | None = None
        while True:
            self._changed.wait(again)
            self._changed.clear()
            if self._stop.is_set():
                break
            states = {name: self._readers.state(reader) for name, reader in self._places.items()}
            again = min(self._said(name, state) for name, state in states.items())
            self._stop.wait(PAUSE)
        if self._spoke:
            for name in self._places:
                self._said(name, StationState.LEFT)

    def _said(self, station: str, state: StationState) -> float:
        """Say it; in how many seconds again."""
        reader = printable(self._places[station])[:READER_NAME].strip()
        body: Document = {"station": station, "state": str(state), "reader": reader}
        try:
            again = float(str(self._server.post(PATH, body)["again"]))
        except VaultError as error:
            if str(error) != self._refused:  # once is enough
                self._refused = str(error)
                self._say(f"the service was not told how the reader at {station} is: {error}")
            return UNTOLD
        self._refused, self._spoke = "", True
        return again


@contextmanager
def watched(
    server: Caller, station: str, reader: str, say: Callable[[str], None]
) -> Iterator[None]:
    """While the block lasts, a station's reader is watched, and people and service are told."""
    with Reports(server, {station: reader}, say) as reports:

        def tell(event: ReaderEvent) -> None:
            reports.tell(event)
            if event.seen in WORDS and event.reader in ("", reader):
                say(WORDS[event.seen].format(event.reader))

        with ReaderSupervisor(tell):
            yield


@contextmanager
def plugged(
    server: Caller, station: str, module: str, say: Callable[[str], None]
) -> Iterator[None]:
    """The same for a token with a module of its own, which is in no reader."""
    with Reports(server, {station: module}, say) as reports:
        for event in (ReaderEvent(Seen.READER_ADDED, module), ReaderEvent(Seen.LOOKED)):
            reports.tell(event)
        yield
