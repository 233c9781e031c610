"""Who was turned away becomes an event, but a flood of them must not fill the log."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from api.telemetry import trace

WINDOW = 10.0  # seconds: at most one event a source in each
SOURCES = 64  # told apart at once; all others are one
ELSEWHERE = "elsewhere"

Write = Callable[[str, str, int], None]
"""(source, reason, count) → an event. Called in a thread."""


@dataclass(slots=True)
class _Source:
    reason: str
    count: int = 0


class Refusals:
    """Counts refused connections and calls by source. Lives in one event loop."""

    def __init__(self, write: Write, counted: Callable[[], None]) -> None:
        self._write = write
        self._counted = counted
        self._sources: dict[str, _Source] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, source: str, reason: str) -> None:
        """Write an event now, or count it into the one that ends the source's window."""
        self._counted()
        if source not in self._sources and len(self._sources) >= SOURCES:
            source = ELSEWHERE
        known = self._sources.get(source)
        if known is not None:
            known.reason, known.count = reason, known.count + 1
            return
        self._sources[source] = _Source(reason)
        self._tell(source, reason, 1)
        asyncio.get_running_loop().call_later(WINDOW, self._turn, source)

    async def settled(self) -> None:
        """Write what is still counted, and wait until it is written."""
        for source, known in self._sources.items():
            if known.count:
                self._tell(source, known.reason, known.count)
        self._sources.clear()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _turn(self, source: str) -> None:
        known = self._sources.pop(source, None)
        if known is None or not known.count:
            return
        self._tell(source, known.reason, known.count)
        self._sources[source] = _Source(known.reason)
        asyncio.get_running_loop().call_later(WINDOW, self._turn, source)

    def _tell(self, source: str, reason: str, count: int) -> None:
        task = asyncio.create_task(self._told(source, reason, count))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _told(self, source: str, reason: str, count: int) -> None:
        try:
            await asyncio.to_thread(self._write, source, reason, count)
        except Exception as error:  # noqa: BLE001  (nobody waits for this task)
            structlog.get_logger().error("refusal not recorded", source=source, **trace(error))
