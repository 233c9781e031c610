"""All processes of the service under one roof: the embedded default for one host.

In production each is its own unit and OS user. This keeps the same shape: separate processes,
the gates started one after another since SoftHSM rewrites its token file at every login. Who needs
no gate to start begins at once: to load a program takes longer than anything that it does then.
"""

import ctypes
import fcntl
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from hsm.errors import HsmError
from keyvault.domain.errors import BusyError, NotReadyError, VaultError
from keyvault.settings import ApiSettings, Settings
from keyvault.wire import Client

START_LIMIT = 120.0  # seconds until a process has to be ready; somebody may have to type a PIN
STOP_LIMIT = 15.0  # seconds until a process that was asked to end is killed
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds before a dead process is started again
STEADY = 30.0  # seconds after which an earlier death is forgotten
POLL = 0.05  # seconds
# Exit statuses that say: the same again would end the same way, and may lock a PIN.
HOPELESS = frozenset({os.EX_USAGE, os.EX_DATAERR, os.EX_NOPERM, os.EX_CONFIG, os.EX_PROTOCOL})
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Service:
    """One process: what to run, and how to tell that it is ready.

    `beside`: it needs nobody else to start, so it does while the others wait for each other.
    """

    name: str
    arguments: tuple[str, ...]  # of the Python interpreter
    ready: Callable[[], bool]
    beside: bool = False

    @property
    def line(self) -> list[str]:
        return [sys.executable, *self.arguments]


def services(settings: Settings, config: Path) -> list[Service]:
    """Every process, in the order in which those start that need the ones before them."""
    path = str(config.resolve())
    gate = ("-m", "keyvault.gate", "--settings", path, "--module")
    return [
        *_gates(settings, gate),
        Service("log-gate", (*gate, "log"), lambda: _answers(settings.log.socket)),
        *_spare(settings, gate),
        Service(
            "recorder",
            ("-m", "keyvault.recorder", "--settings", path),
            lambda: _listens(settings.recorder),
            beside=True,
        ),
        Service("sealer", ("-m", "keyvault.sealer", "--settings", path), lambda: True),
        *_offices(settings, path),
        Service("clerk", ("-m", "keyvault.clerk", "--settings", path), lambda: True),
        *(_api(settings, path, number) for number in range(1, settings.api.workers + 1)),
    ]


def _gates(settings: Settings, gate: tuple[str, ...]) -> Iterator[Service]:
    """Those of the keys: each is a keeper and its worker, and logs in when the one before has."""
    for number, place in enumerate(settings.keys.sockets, 1):
        line = (*gate, "keys", "--worker", str(number))
        yield Service(part("gate", number), line, partial(_answers, place))


def part(name: str, number: int) -> str:
    """What the n-th process of a kind is called: the first has no number."""
    return name if number == 1 else f"{name}-{number}"


def _spare(settings: Settings, gate: tuple[str, ...]) -> Iterator[Service]:
    if (module := settings.spare) is not None:
        yield Service("spare-gate", (*gate, "spare"), lambda: _answers(module.socket))


def _offices(settings: Settings, path: str) -> Iterator[Service]:
    """Those that only run where the settings give them something to do."""
    named = {
        "feeder": settings.witnesses,
        "stamper": settings.time,
        "shipper": settings.streams,
    }
    for name, wanted in named.items():
        if wanted:
            yield Service(name, ("-m", f"keyvault.{name}", "--settings", path), lambda: True)


def _api(settings: Settings, path: str, number: int) -> Service:
    line = ("-m", "api.server", "--settings", path, "--worker", str(number))
    return Service(part("api", number), line, lambda: _alive(settings.api), beside=True)


def _alive(api: ApiSettings) -> bool:
    # Without a look at the certificate: this asks whether the process serves, and tells nothing.
    # A default context would read every authority of the system, twenty times a second.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    line = HTTPSConnection(api.host, api.port, timeout=5, context=context)
    try:
        line.request("GET", "/v1/health/alive")
        return line.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        line.close()


def _answers(place: Path) -> bool:
    try:
        client = Client(place)
        try:
            client.call("status", timeout=5)
        finally:
            client.close()
    except (OSError, HsmError, VaultError):
        return False
    return True


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(path)) == 0


@dataclass
class _Child:
    """A service and the process that runs it now."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    next_start: float | None = None  # None: not to be started again

    def start(self) -> subprocess.Popen[bytes]:
        # Standard output is kept for the one line that says the service is ready.
        self.process = subprocess.Popen(  # noqa: S603  (our own modules)
            self.service.line,
            stdout=sys.stderr.fileno(),
            preexec_fn=_end_with_parent,  # noqa: PLW1509  (one thread, and only a system call)
        )
        self.started, self.next_start = time.monotonic(), None
        return self.process

    def stop(self, deadline: float) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the supervisor dies, however it dies."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Supervisor:
    """Starts the services in order, starts the dead again, and stops all of them cleanly."""

    services: list[Service]
    say: Say
    _children: list[_Child] = field(default_factory=list)
    _asked: bool = False

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT. Raises `NotReadyError` if a service does not start."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        try:
            self._children = [_Child(service) for service in self.services]
            for child in self._children:
                if child.service.beside and not self._stopping():
                    child.start()
            for child in self._children:
                self._bring_up(child)
            if not self._stopping():
                on_ready()
            while not self._stopping():
                self._look_after()
                time.sleep(POLL)
        finally:
            self._stop_all()

    def _asked_to_stop(self, number: int, frame: object) -> None:  # noqa: ARG002  (a handler's)
        self._asked = True

    def _stopping(self) -> bool:
        return self._asked

    def _bring_up(self, child: _Child) -> None:
        if self._stopping():
            return
        service, process = child.service, child.process or child.start()
        until = time.monotonic() + START_LIMIT
        while not self._stopping() and not service.ready():
            ended = process.poll()
            if ended is not None or time.monotonic() > until:
                raise NotReadyError(
                    f"{service.name} did not start"
                    + ("" if ended is None else f": it ended with status {ended}"),
                    next_step="read its last words above, and run: keyvault doctor",
                )
            time.sleep(POLL)

    def _look_after(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and (status := child.process.poll()) is not None:
                child.process = None
                self._bury(child, status, now)
            elif child.next_start is not None and now >= child.next_start:
                self.say(f"starting {child.service.name} again")
                child.start()

    def _bury(self, child: _Child, status: int, now: float) -> None:
        if status in HOPELESS:
            self.say(
                f"{child.service.name} ended with status {status} and is not started again:"
                " somebody has to put it right; run: keyvault doctor"
            )
            return
        child.pause = FIRST_PAUSE if now - child.started > STEADY else child.pause * 2
        child.pause = min(child.pause, LONGEST_PAUSE)
        child.next_start = now + child.pause
        self.say(f"{child.service.name} ended with status {status}")

    def _stop_all(self) -> None:
        # The last one ends first, so that nobody calls what is gone.
        for child in reversed(self._children):
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
                child.stop(time.monotonic() + STOP_LIMIT)


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Hold the place of the one supervisor over this state folder. Raises `BusyError`."""
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (settings.state / "supervisor.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BusyError(
                "the service is running already", next_step="stop it first: kill its process"
            ) from error
        yield
