"""Who was turned away becomes an event, but a flood of them must not fill the log.

One piece for connections, failed logins, locks and calls that are too many: each has its own.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from api.telemetry import trace

WINDOW = 10.0  # seconds: at most one event a source in each
SOURCES = 64  # told apart at once; all others are one
ELSEWHERE = "elsewhere"

Write = Callable[..., None]
"""(source, *what was told last, count) → an event. Called in a thread."""


@dataclass(slots=True)
class _Source:
    told: tuple[object, ...]
    count: int = 0


class Refusals:
    """Counts what is refused by source. Lives in one event loop."""

    def __init__(self, write: Write, counted: Callable[[], None]) -> None:
        self._write = write
        self._counted = counted
        self._sources: dict[str, _Source] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, source: str, *told: object) -> "asyncio.Task[None] | None":
        """Write an event now, or count it into the one that ends the source's window.

        The task of writing now may be waited for, and raises nothing.
        """
        self._counted()
        if source not in self._sources and len(self._sources) >= SOURCES:
            source = ELSEWHERE
        known = self._sources.get(source)
        if known is not None:
            known.told, known.count = told, known.count + 1
            return None
        self._sources[source] = _Source(told)
        asyncio.get_running_loop().call_later(WINDOW, self._turn, source)
        return self._tell(source, told, 1)

    async def settled(self) -> None:
        """Write what is still counted, and wait until it is written."""
        for source, known in self._sources.items():
            if known.count:
                self._tell(source, known.told, known.count)
        self._sources.clear()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _turn(self, source: str) -> None:
        known = self._sources.pop(source, None)
        if known is None or not known.count:
            return
        self._tell(source, known.told, known.count)
        self._sources[source] = _Source(known.told)
        asyncio.get_running_loop().call_later(WINDOW, self._turn, source)

    def _tell(self, source: str, told: tuple[object, ...], count: int) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._told(source, told, count))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _told(self, source: str, told: tuple[object, ...], count: int) -> None:
        try:
            await asyncio.to_thread(self._write, source, *told, count)
        except Exception as error:  # noqa: BLE001  (nobody waits for this task)
            structlog.get_logger().error("refusal not recorded", source=source, **trace(error))
