"""Watches every reader of a host: plugged, unplugged, cards in and out, the service gone and back.

One thread with a process of its own. It never dies with the service: what it lost it says, and
then asks again, ever less often, until there is an answer.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from hsm.errors import CardError, ReaderNotFoundError
from hsm.pcsc.reader import CALL_SECONDS, Child, Reader

POLL_SECONDS = 0.25
BACKOFF = (0.25, 0.5, 1.0, 2.0, 5.0)  # seconds between two tries at a service that is away


class Seen(StrEnum):
    READER_ADDED = "reader-added"
    READER_REMOVED = "reader-removed"
    CARD_INSERTED = "card-inserted"
    CARD_REMOVED = "card-removed"
    SERVICE_LOST = "service-lost"
    SERVICE_BACK = "service-back"
    LOOKED = "looked"  # once: what was there at the beginning has been told


@dataclass(frozen=True, slots=True)
class ReaderEvent:
    """What was seen. `insertion` tells one insertion from the next, also of the same card."""

    seen: Seen
    reader: str = ""
    atr: bytes = b""
    insertion: int = 0


class ReaderSupervisor:
    """A context manager. `tell` is called on its thread, and only hands on: it never waits."""

    def __init__(self, tell: Callable[[ReaderEvent], None]) -> None:
        self._tell = tell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="readers", daemon=True)
        self._known: dict[str, Reader] = {}
        self._failures = 0
        self._looked = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(CALL_SECONDS)

    def _watch(self) -> None:
        child: Child | None = None
        while not self._stop.is_set():
            child = child or Child()
            pause = POLL_SECONDS
            try:
                self._compare({each.name: each for each in child.readers(CALL_SECONDS)})
            except ReaderNotFoundError:
                self._compare({})
            except CardError:
                child.kill()
                child, pause = None, self._lost()
            self._stop.wait(pause)
        if child is not None:
            child.kill()

    def _lost(self) -> float:
        if not self._failures:
            self._tell(ReaderEvent(Seen.SERVICE_LOST))
        self._failures += 1
        return BACKOFF[min(self._failures, len(BACKOFF)) - 1]

    def _compare(self, now: Mapping[str, Reader]) -> None:
        if self._failures:
            self._failures = 0
            self._tell(ReaderEvent(Seen.SERVICE_BACK))
            self._forget_cards()
        for name in self._known.keys() - now.keys():
            self._tell(ReaderEvent(Seen.READER_REMOVED, name))
        for name, reader in now.items():
            before = self._known.get(name)
            if before is None:
                self._tell(ReaderEvent(Seen.READER_ADDED, name))
            self._compare_card(before or Reader(name, b""), reader)
        self._known = dict(now)
        if not self._looked:
            self._looked = True
            self._tell(ReaderEvent(Seen.LOOKED))

    def _forget_cards(self) -> None:
        """A service that was restarted counts anew: a card that is in now is another insertion."""
        for each in self._known.values():
            if each.has_card:
                self._tell(ReaderEvent(Seen.CARD_REMOVED, each.name))
        self._known = {name: Reader(name, b"") for name in self._known}

    def _compare_card(self, before: Reader, now: Reader) -> None:
        exchanged = now.changes != before.changes
        if before.has_card and (exchanged or not now.has_card):
            self._tell(ReaderEvent(Seen.CARD_REMOVED, now.name))
        if now.has_card and (exchanged or not before.has_card):
            self._tell(ReaderEvent(Seen.CARD_INSERTED, now.name, now.atr, now.changes))
