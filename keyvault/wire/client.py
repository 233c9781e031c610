"""The clients: one for event loops, which batches, and a blocking one for threads.

Both raise the caller's errors as their own classes, `ConnectionError` when the server is not
there or goes away with the call in flight, and `TimeoutError` when no answer came in time.
"""

import asyncio
import contextlib
import itertools
import select
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyvault.domain.errors import InvalidInputError
from keyvault.wire.errors import error_of
from keyvault.wire.frames import MAX_FRAME, FrameError, FrameReader, join, pack_item

READ_SIZE = 262_144
TIMEOUT = 30.0  # seconds, where the caller says nothing
MAX_BATCH = 1_024  # calls in a frame, so that one caller's many do not delay another's few


@dataclass(slots=True, eq=False)
class _Call:
    number: int
    data: bytes
    future: asyncio.Future[Any]
    until: float  # of the loop's clock


class AsyncClient:
    """Calls of one event loop. Those that are made in one turn of it travel in one frame."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers = itertools.count(1)
        self._outbox: list[_Call] = []
        self._pending: dict[int, _Call] = {}
        self._link: _Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._clock: asyncio.TimerHandle | None = None

    async def call(self, method: str, *args: Any, timeout: float = TIMEOUT) -> Any:  # noqa: ASYNC109  (one clock for all calls is the point)
        """Return the answer. Raises the server's error, `ConnectionError` or `TimeoutError`."""
        loop = asyncio.get_running_loop()
        number, until = next(self._numbers), loop.time() + timeout
        call = _Call(number, _packed(number, method, args), loop.create_future(), until)
        if not self._outbox:
            loop.call_soon(self._flush)
        self._outbox.append(call)
        if self._clock is None or until < self._clock.when():
            self._set_clock(until)
        try:
            return await call.future
        finally:
            self._pending.pop(number, None)

    def _set_clock(self, until: float) -> None:
        """Look at `until` for calls that have waited too long: a timer a call would cost more."""
        if self._clock is not None:
            self._clock.cancel()
        self._clock = asyncio.get_running_loop().call_at(until, self._time_out)

    def _time_out(self) -> None:
        self._clock = None
        now = asyncio.get_running_loop().time()
        waiting = [c for c in (*self._pending.values(), *self._outbox) if not c.future.done()]
        for call in waiting:
            if call.until <= now:
                call.future.set_exception(TimeoutError(f"{self._path.name} gave no answer in time"))
        if left := [call.until for call in waiting if call.until > now]:
            self._set_clock(min(left))

    async def close(self) -> None:
        """Hang up; calls in flight fail."""
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        if self._connecting is not None:
            self._connecting.cancel()
        if self._link is not None:
            self._link.transport.close()
        self._fail("the client was closed")

    def _flush(self) -> None:
        if self._link is None:
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._connect())
            return
        calls = [call for call in self._outbox if not call.future.done()]
        self._outbox.clear()
        for frame in _frames(calls):
            self._pending.update((call.number, call) for call in frame)
            self._link.transport.write(join([call.data for call in frame]))

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, self._link = await loop.create_unix_connection(lambda: _Link(self), str(self._path))
        except OSError as error:
            self._fail(f"{self._path.name} does not answer: {error}")
        finally:
            self._connecting = None
        if self._link is not None:
            self._flush()

    def answered(self, answers: list[Any]) -> None:
        """Resolve what the server answered; its farewell sends the rest on to its successor."""
        for number, good, result in answers:
            call = self._pending.pop(number, None)
            if call is None or call.future.done():
                continue  # the caller gave up
            if good:
                call.future.set_result(result)
            else:
                call.future.set_exception(error_of(result))
        if not answers and self._link is not None:
            self._outbox[:0] = self._pending.values()
            self._pending.clear()
            self._link.transport.close()
            self._link = None
            self._flush()

    def lost(self, link: "_Link") -> None:
        """Fail what was in flight. The next call connects again."""
        if link is self._link:
            self._link = None
            self._fail(f"{self._path.name} went away during the call")

    def _fail(self, message: str) -> None:
        calls = [*self._pending.values(), *self._outbox]
        self._pending.clear()
        self._outbox.clear()
        for call in calls:
            if not call.future.done():
                call.future.set_exception(ConnectionError(message))


class _Link(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._reader = FrameReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport it is

    def data_received(self, data: bytes) -> None:
        try:
            for answers in self._reader.feed(data):
                self._client.answered(answers)
        except (FrameError, ValueError, TypeError, KeyError):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's name)
        self._client.lost(self)


class Client:
    """Blocking calls, one at a time; any thread may make one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._reader = FrameReader()

    def call(self, method: str, *args: Any, timeout: float = TIMEOUT) -> Any:
        """Return the answer. Raises the server's error, `ConnectionError` or `TimeoutError`."""
        until = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise TimeoutError(f"{self._path.name} was busy with another thread's call")
        try:
            number = next(self._numbers)
            frame = join([_packed(number, method, args)])
            while not (answers := self._exchange(frame, until)):
                self._hang_up()  # the server's farewell: its successor gets the call
            [[_, good, result]] = answers
        except OSError as error:
            self._hang_up()
            raise _named(error, self._path) from error
        except (FrameError, ValueError) as error:
            self._hang_up()
            raise ConnectionError(f"{self._path.name} answered nonsense") from error
        finally:
            self._lock.release()
        if not good:
            raise error_of(result)
        return result

    def close(self) -> None:
        with self._lock:
            self._hang_up()

    def _exchange(self, frame: bytes, until: float) -> list[Any]:
        if self._socket is not None and _has_ended(self._socket):
            self._hang_up()  # the server went away between two calls: nothing was asked of it
        link = self._sent(frame, until)
        while True:
            link.settimeout(_left(until))
            data = link.recv(READ_SIZE)
            if not data:
                raise ConnectionResetError("it went away during the call")
            for answers in self._reader.feed(data):
                return answers  # there is one: one call is in flight

    def _sent(self, frame: bytes, until: float) -> socket.socket:
        """Send over the connection there is, or a new one if the server has left that meanwhile.

        A frame that could not be sent whole was not begun.
        """
        if self._socket is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._socket.settimeout(_left(until))
                self._socket.sendall(frame)
                return self._socket
            self._hang_up()
        self._socket, self._reader = socket.socket(socket.AF_UNIX), FrameReader()
        self._socket.settimeout(_left(until))
        self._socket.connect(str(self._path))
        self._socket.sendall(frame)
        return self._socket

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _has_ended(link: socket.socket) -> bool:
    """Whether the other side has closed an idle connection (or said what nobody asked for)."""
    return bool(select.select([link], [], [], 0)[0])


def _packed(number: int, method: str, args: tuple[Any, ...]) -> bytes:
    try:
        return pack_item([number, method, args])
    except (FrameError, OverflowError) as error:
        raise InvalidInputError(str(error), next_step="send it in smaller parts") from error


def _frames(calls: list[_Call]) -> list[list[_Call]]:
    """Cut calls into frames of at most `MAX_BATCH` calls, each within `MAX_FRAME`."""
    frames: list[list[_Call]] = []
    size = MAX_FRAME
    for call in calls:
        size += len(call.data)
        if size > MAX_FRAME - 5 or len(frames[-1]) >= MAX_BATCH:  # 5: the longest array header
            frames.append([])
            size = len(call.data)
        frames[-1].append(call)
    return frames


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _named(error: OSError, path: Path) -> OSError:
    if isinstance(error, TimeoutError):
        return TimeoutError(f"{path.name} gave no answer in time")
    return ConnectionError(f"{path.name} does not answer: {error.strerror or error}")
