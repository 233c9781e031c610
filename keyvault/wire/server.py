"""The server: one thread, one selector, one call at a time, nobody waits for a slow client."""

import contextlib
import logging
import selectors
import socket
import struct
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from keyvault.domain.errors import InvalidInputError
from keyvault.wire.errors import INTERNAL, document_of
from keyvault.wire.frames import MAX_FRAME, FrameError, FrameReader, pack

BACKLOG = 128
MAX_CONNECTIONS = 128
READ_SIZE = 262_144  # bytes taken from one client in one round, so that all get their turn
PIECE = 4  # answers of a frame that leave together, so that who called can go on meanwhile
MAX_UNREAD = 8 * MAX_FRAME  # bytes of answers that wait for a client before it is hung up on
FAREWELL = 0.5  # seconds for clients to hear that the server goes
CREDENTIALS = struct.Struct("3i")  # pid, uid and gid: struct ucred of unix(7)

log = logging.getLogger(__name__)
Handler = Callable[..., Any]
F = TypeVar("F", bound=Handler)


def batch(handler: F) -> F:
    """Mark a handler that takes the arguments of every call of a round at once.

    It is called with a list of argument lists and returns as many results or exceptions.
    """
    handler.__dict__["batch"] = True
    return handler


def peer_uid(peer: socket.socket) -> int:
    """Ask the kernel who is at the other end of a Unix socket."""
    data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, uid, _ = CREDENTIALS.unpack(data)
    return int(uid)


def listen(path: Path, *, shared: bool = False, mode: int | None = None) -> socket.socket:
    """Bind a socket at `path`, for its owner alone or, if `shared`, for who else may knock.

    `mode` says it exactly instead.

    A socket that nobody listens on is replaced. Raises `OSError` if somebody does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)
    with contextlib.ExitStack() as undo:
        listener = undo.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        # Who is answered, the peer's credentials decide.
        path.chmod(mode or (0o666 if shared else 0o600))
        listener.listen(BACKLOG)
        undo.pop_all()
        return listener


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    reader: FrameReader = field(default_factory=FrameReader)
    unsent: bytearray = field(default_factory=bytearray)


@dataclass(slots=True, eq=False)
class _Frame:
    connection: _Connection
    calls: list[Any]


class Server:
    """Answers the calls of clients whose uid is allowed. `listener` may be inherited."""

    def __init__(
        self,
        listener: socket.socket,
        handlers: Mapping[str, Handler],
        allowed_uids: Collection[int],
    ) -> None:
        self._batches = {k: h for k, h in handlers.items() if getattr(h, "batch", False)}
        self._handlers = {k: h for k, h in handlers.items() if k not in self._batches}
        self._uids = frozenset(allowed_uids)
        self._connections: set[_Connection] = set()
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._listener = listener
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def stop(self) -> None:
        """Make `serve` end after the call under way. For handlers, signals and threads."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def serve(self) -> None:
        """Serve until `stop`, then tell the clients and close every socket but the listener."""
        while not self._stopping:
            frames: list[_Frame] = []
            for key, events in self._selector.select():
                if isinstance(key.data, _Connection):
                    frames += self._attend(key.data, events)
                elif key.fileobj is self._listener:
                    self._accept()
            self._work(frames)
        self._say_farewell()

    def _accept(self) -> None:
        try:
            peer, _ = self._listener.accept()
        except OSError:  # it went away again, or descriptors ran out
            return
        uid = peer_uid(peer)
        if uid not in self._uids or len(self._connections) >= MAX_CONNECTIONS:
            log.warning("connection of uid %d refused", uid)
            peer.close()
            return
        peer.setblocking(False)
        connection = _Connection(peer)
        self._connections.add(connection)
        self._selector.register(peer, selectors.EVENT_READ, connection)

    def _attend(self, connection: _Connection, events: int) -> list[_Frame]:
        if events & selectors.EVENT_WRITE:
            self._send(connection, b"")
        if not events & selectors.EVENT_READ or connection not in self._connections:
            return []
        try:
            data = connection.socket.recv(READ_SIZE)
            if data:
                return [_Frame(connection, calls) for calls in connection.reader.feed(data)]
        except BlockingIOError:
            return []
        except FrameError as error:
            log.warning("connection closed: %s", error)
        except OSError:
            pass
        self._drop(connection)
        return []

    def _work(self, frames: list[_Frame]) -> None:
        waiting: dict[str, list[tuple[_Connection, int, list[Any]]]] = {}
        for frame in frames:
            answers: list[Any] = []
            for call in frame.calls:
                if self._stopping or frame.connection not in self._connections:
                    break
                match call:
                    case [int() as number, str() as method, list() as args]:
                        if method in self._batches:
                            waiting.setdefault(method, []).append((frame.connection, number, args))
                            continue
                        answers.append(self._answer(number, method, args))
                        if len(answers) == PIECE:
                            self._reply(frame.connection, answers)
                            answers = []
                    case _:
                        self._drop(frame.connection)
                        break
            self._reply(frame.connection, answers)
        self._work_batches(waiting)

    def _work_batches(self, waiting: dict[str, list[tuple[_Connection, int, list[Any]]]]) -> None:
        """Answer all that one client asked in a round in one frame, however many it came in."""
        answers: dict[_Connection, list[Any]] = {}
        for method, calls in waiting.items():
            try:
                results = self._batches[method]([args for _, _, args in calls])
            except Exception as error:  # noqa: BLE001  (the caller hears it, the server lives)
                results = [error] * len(calls)
            for (connection, number, _), result in zip(calls, results, strict=True):
                answers.setdefault(connection, []).append(_answer(number, result))
        for connection, all_of_it in answers.items():
            self._reply(connection, all_of_it)

    def _answer(self, number: int, method: str, args: list[Any]) -> list[Any]:
        try:
            if method not in self._handlers:
                raise InvalidInputError(f"no method is called {method[:40]!r}")  # noqa: TRY301  (answered below)
            return [number, True, self._handlers[method](*args)]
        except Exception as error:  # noqa: BLE001  (the caller hears it, the server lives)
            return _answer(number, error)

    def _reply(self, connection: _Connection, answers: list[Any]) -> None:
        if not answers:
            return
        try:
            data = pack(answers)
        except (FrameError, TypeError, ValueError, OverflowError) as error:
            data = pack([_answer(answer[0], error) for answer in answers])
        self._send(connection, data)

    def _send(self, connection: _Connection, data: bytes) -> None:
        if connection not in self._connections:
            return
        unsent = connection.unsent
        unsent += data
        try:
            while unsent:
                del unsent[: connection.socket.send(unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
            return
        if len(unsent) > MAX_UNREAD:
            log.warning("connection closed: the client does not read its answers")
            self._drop(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if unsent else 0)
        self._selector.modify(connection.socket, events, connection)

    def _drop(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._selector.unregister(connection.socket)
            connection.socket.close()

    def _say_farewell(self) -> None:
        """Send the empty frame, then let clients hang up first: an early close would reset them."""
        self._selector.unregister(self._listener)
        for connection in list(self._connections):
            self._send(connection, pack([]))
        until = time.monotonic() + FAREWELL
        while self._connections and (left := until - time.monotonic()) > 0:
            for key, events in self._selector.select(left):
                if isinstance(key.data, _Connection):
                    self._attend(key.data, events)
                else:
                    self._wake.recv(READ_SIZE)
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.close()
        self._wake.close()
        self._waker.close()


def _answer(number: int, result: Any) -> list[Any]:
    if not isinstance(result, Exception):
        return [number, True, result]
    error = document_of(result)
    if error["code"] == INTERNAL:
        log.error("a call failed", exc_info=result)
    return [number, False, error]
