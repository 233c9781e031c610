"""The keeper: holds the socket and the PIN, and a worker that does what is dangerous.

It never loads a PKCS#11 module, so a module that hangs or crashes takes only the worker with it.
"""

import argparse
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from keyvault.domain.errors import InvalidInputError
from keyvault.gate.process import find_pin, harden, pipe_of, title, wipe
from keyvault.settings import ModuleSettings, Settings
from keyvault.wire import listen

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between workers that fail one after another
HEALTHY = 5.0  # seconds of life after which a worker's end counts as its first failure
PATIENCE = 3.0  # seconds that a worker has to leave
FINAL = {os.EX_NOPERM, os.EX_CONFIG}  # what no second try can better, and a PIN has few tries

log = logging.getLogger("keyvault.gate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Keep one gate until SIGTERM. Exit code EX_NOPERM: the PIN was refused, do not restart."""
    parser = argparse.ArgumentParser(prog="python -m keyvault.gate")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--module", choices=("keys", "log", "spare"), required=True)
    parser.add_argument("--worker", type=int, default=1, help="its number, from 1")
    parser.add_argument("--pin-fd", type=int)
    options = parser.parse_args(arguments)
    logging.basicConfig(format=f"{title(options)}: %(message)s", level=logging.INFO)
    harden()
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    try:
        settings = Settings.load(options.settings)
        module: ModuleSettings = getattr(settings, options.module)
        place = module.socket_of(options.worker)
        pin = find_pin(settings, module, options.pin_fd)
        with listen(place, shared=bool(module.callers)) as listener:
            try:
                return Keeper(options, module, pin).keep(listener)
            finally:
                wipe(pin)
                place.unlink(missing_ok=True)
    except (InvalidInputError, OSError) as error:
        log.error("%s", error)  # noqa: TRY400  (a sentence for the operator, not a traceback)
        return os.EX_CONFIG


class Keeper:
    """Starts workers one after another.

    They inherit the listening socket, so who calls between two of them only waits.
    """

    def __init__(self, options: argparse.Namespace, module: ModuleSettings, pin: bytearray) -> None:
        self._options = options
        self._environment = module.environment
        self._pin = pin
        self._pause = FIRST_PAUSE
        self._restarts = 0

    def keep(self, listener: socket.socket) -> int:
        """Replace each worker that ends, until one ends in a way that is final."""
        while True:
            started = time.monotonic()
            code = self._run(listener)
            if code in FINAL:
                return code
            if time.monotonic() - started >= HEALTHY:
                self._pause = FIRST_PAUSE
            self._restarts += 1
            if code != os.EX_OK:
                log.error("%s; a new worker starts in %.1f s", _reason(code), self._pause)
                time.sleep(self._pause)
                self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _run(self, listener: socket.socket) -> int:
        worker = self._start(listener)
        try:
            return worker.wait()
        finally:  # also when a signal ends this keeper
            if worker.poll() is None:
                _end(worker)

    def _start(self, listener: socket.socket) -> subprocess.Popen[bytes]:
        with pipe_of(self._pin) as pin:
            values = {
                "settings": self._options.settings,
                "module": self._options.module,
                "worker": self._options.worker,
                "listener-fd": listener.fileno(),
                "pin-fd": pin,
                "keeper": os.getpid(),
                "restarts": self._restarts,
            }
            options = [f"--{name}={value}" for name, value in values.items()]
            return subprocess.Popen(  # noqa: S603  (our own interpreter and module)
                [sys.executable, "-m", "keyvault.gate.worker", *options],
                pass_fds=(listener.fileno(), pin),
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
            )


def _end(worker: subprocess.Popen[bytes]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    worker.terminate()
    try:
        worker.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit(os.EX_OK)


def _reason(code: int) -> str:
    if code == -signal.SIGALRM:
        return "the module hung beyond its deadline and was killed"
    if code < 0:
        return f"the worker died of {signal.Signals(-code).name}"
    return f"the worker gave up with exit code {code}"
