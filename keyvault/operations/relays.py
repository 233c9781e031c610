"""Sessions with desks: each is at home in the process that it began in, and has its own socket.

Workers of one host share a port, so a desk's next message may reach any of them: whichever it is
hands it on to the session's socket. A connection that breaks ends a session, and to the job the
token was pulled: nothing here has to outlive its process.
"""

import os
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

from hsm.pcsc.relay import PATIENCE, Message, Relay
from keyvault import wire
from keyvault.domain.errors import BusyError, NotFoundError

LIMIT = 32  # sessions of one process at once
ENDING = 5.0  # seconds that a session may take to notice that it is over
SILENT = 300.0  # seconds after which a session that nobody asks about is forgotten
LAST_WORD = 30.0  # seconds for which the end of a session can still be asked for
ON_THE_WAY = 5.0  # seconds that a message may take to the session's own process
SOCKET = ".desk"


class Line(Protocol):
    """What a desk's message is handed to: a session here, or the way to one elsewhere."""

    def exchange(self, answer: Message | None) -> Message: ...

    def hang_up(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Session:
    relay: Relay
    person: str
    about: UUID
    server: wire.Server
    path: Path

    def close(self) -> None:
        self.relay.hang_up()
        self.server.stop()
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """A session of another worker of this host."""

    path: Path
    person: str

    def exchange(self, answer: Message | None) -> Message:
        return dict(self._call("exchange", answer))

    def hang_up(self) -> None:
        self._call("hang_up")

    def _call(self, method: str, *more: Any) -> Any:
        client = wire.Client(self.path)
        try:
            return client.call(method, self.person, *more, timeout=PATIENCE + ON_THE_WAY)
        except OSError as error:
            self.path.unlink(missing_ok=True)
            raise _nowhere() from error
        finally:
            client.close()


class Relays:
    """The sessions of one process, and the way to those of others. `folder` has their sockets."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: dict[UUID, _Session] = {}

    def add(self, relay: Relay, person: str, about: UUID) -> UUID:
        session = uuid4()
        with self._lock:
            self._forget()
            if sum(not one.relay.ended for one in self._open.values()) >= LIMIT:
                relay.hang_up()
                raise BusyError("too many desks work at once", retry_after=30.0)
            self._open[session] = self._listening(session, relay, person, about)
        return session

    def _listening(self, session: UUID, relay: Relay, person: str, about: UUID) -> _Session:
        path = self._folder / f"{_short(about)}.{_short(session)}{SOCKET}"
        handlers: dict[str, Callable[..., Any]] = {
            "exchange": lambda who, answer: _own(relay, person, who).exchange(answer),
            "hang_up": lambda who: _own(relay, person, who).hang_up(),
            "busy": lambda who: _is_busy(relay, person, who),
        }
        listener = wire.listen(path)
        server = wire.Server(listener, handlers, {os.getuid()})

        def serve() -> None:
            with listener:
                server.serve()

        threading.Thread(target=serve, name="desk", daemon=True).start()
        return _Session(relay, person, about, server, path)

    def get(self, session: UUID, person: str) -> Line:
        """Whoever began a session goes on with it, and nobody else learns that it is there."""
        with self._lock:
            found = self._open.get(session)
        if found is not None:
            return _own(found.relay, found.person, person)
        for path in self._folder.glob(f"*.{_short(session)}{SOCKET}"):
            return _Elsewhere(path, person)
        raise _nowhere()

    def busy(self, about: UUID, person: str) -> bool:
        """Whether a session is about this. One of the same person is ended first: they are back."""
        with self._lock:
            here = [one for one in self._open.values() if one.about == about]
        own = {one.path for one in here}
        busy = [_is_busy(one.relay, one.person, person) for one in here]
        others = set(self._folder.glob(f"{_short(about)}.*{SOCKET}")) - own
        return any([*busy, *(_busy_elsewhere(path, person) for path in others)])

    def close(self) -> None:
        """End every session of this process."""
        with self._lock:
            for session in self._open.values():
                session.close()
            self._open.clear()

    def _forget(self) -> None:
        now = time.monotonic()
        for name, session in list(self._open.items()):
            left = LAST_WORD if session.relay.ended else SILENT
            if now - session.relay.heard > left:
                session.close()
                del self._open[name]


def _own(relay: Relay, owner: str, person: str) -> Relay:
    if owner != person:
        raise _nowhere()
    return relay


def _is_busy(relay: Relay, owner: str, person: str) -> bool:
    if owner == person and not relay.ended:
        relay.hang_up()
        relay.wait(ENDING)
    return not relay.ended


def _busy_elsewhere(path: Path, person: str) -> bool:
    client = wire.Client(path)
    try:
        return bool(client.call("busy", person, timeout=ENDING + ON_THE_WAY))
    except OSError:  # its process is gone, and the session with it
        path.unlink(missing_ok=True)
        return False
    finally:
        client.close()


def _nowhere() -> NotFoundError:
    return NotFoundError("there is no such session here", next_step="begin again: the job goes on")


def _short(name: UUID) -> str:
    """22 characters: the path of a Unix socket has at most 107."""
    return urlsafe_b64encode(name.bytes).decode().rstrip("=")
