"""The worker: the only process that loads a PKCS#11 module, and makes one call at a time.

Not threads: python-pkcs11 lets go of the GIL within every call, and modules need not bear that.
Not the web process: a C call that hangs can only be killed.
"""

import argparse
import gc
import logging
import os
import pwd
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import Any

from hsm.device import Device
from hsm.errors import (
    DeviceUnavailableError,
    ErrorKind,
    HsmError,
    KeyUnusableError,
    PinIncorrectError,
)
from hsm.registry import open_device
from keyvault.domain.errors import RolledBackError, VaultError
from keyvault.gate.deadlines import SLOW, deadline, timed
from keyvault.gate.keys import KeysGate
from keyvault.gate.log import LogGate
from keyvault.gate.process import die_with, harden, read_pin, title, turn, wipe
from keyvault.gate.refusals import Refusals
from keyvault.settings import ModuleSettings, Settings
from keyvault.wire import Server

MAX_UNWRAPS = 200_000  # SoftHSM leaks 250 bytes with each, so this is 50 MB

log = logging.getLogger("keyvault.gate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to leave. Exit codes EX_NOPERM and EX_CONFIG say: do not try again."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format=f"{title(options)}: %(message)s", level=logging.INFO)
    harden()
    die_with(options.keeper)
    settings = Settings.load(options.settings)
    module: ModuleSettings = getattr(settings, options.module)
    try:
        device = _logged_in(settings, options.module, options.pin_fd)
    except HsmError as error:
        log.error("%s %s (%s)", error, error.next_step, error.cause)  # noqa: TRY400  (a sentence)
        return exit_code(error)
    try:
        gate = (
            LogGate(device, settings)
            if options.module == "log"
            else KeysGate(device, settings, options.worker, spare=options.module == "spare")
        )
    except RolledBackError as error:
        log.error("%s; next step: %s", error, error.next_step)  # noqa: TRY400  (a sentence)
        return os.EX_CONFIG
    with socket.socket(fileno=options.listener_fd) as listener:
        Worker(device, gate, listener, uids_of(module), options.restarts).serve()
    device.close()
    return os.EX_OK


def _logged_in(settings: Settings, name: str, pin_fd: int) -> Device:
    """Gates that share a folder log in one after another, also those that take another's place.

    The log's has a folder and a token of its own.
    """
    module: ModuleSettings = getattr(settings, name)
    with nullcontext() if name == "log" else turn(settings.state / "login.lock"):
        return opened(module, pin_fd)


def opened(module: ModuleSettings, pin_fd: int) -> Device:
    """Log in once and wipe the PIN. Every call of the device is under the module's deadline."""
    pin = read_pin(pin_fd)
    try:
        with deadline(SLOW * module.deadline):
            device = open_device(module.uri, pin, cache_size=module.cache)
    finally:
        wipe(pin)
    return timed(device, module.deadline)


def exit_code(error: HsmError) -> int:
    """A refused PIN is never tried twice; a wrong setting stays wrong; the rest may pass."""
    if isinstance(error, PinIncorrectError):
        return os.EX_NOPERM
    return os.EX_CONFIG if error.kind is ErrorKind.PERMANENT else os.EX_TEMPFAIL


def uids_of(module: ModuleSettings) -> set[int]:
    return {os.geteuid(), *(pwd.getpwnam(name).pw_uid for name in module.callers)}


class Worker:
    """Serves a gate's methods, and leaves when the device is lost or the process is worn out."""

    def __init__(
        self,
        device: Device,
        gate: KeysGate | LogGate,
        listener: socket.socket,
        uids: set[int],
        restarts: int,
    ) -> None:
        self._device = device
        self._gate = gate
        self._restarts = restarts
        self._calls = 0
        self._refusals = Refusals()
        handlers = {"status": self.status, **gate.methods()}
        guarded = {name: self._guarded(method) for name, method in handlers.items()}
        self._server = Server(listener, guarded, uids)

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._server.stop())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keeper hears it and decides
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)
        log.info("ready: %s on %s", self._device.info.label, self._device.info.library)
        self._server.serve()

    def status(self) -> dict[str, Any]:
        return {
            **self._gate.status(),
            "pid": os.getpid(),
            "calls": self._calls,
            "unwraps": self._device.unwraps,
            "restarts": self._restarts,
            "refused": self._refusals.document(),
        }

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any) -> Any:
            self._calls += 1
            try:
                return method(*args)
            except DeviceUnavailableError:
                if self._lost():
                    self._server.stop()
                raise
            except (VaultError, KeyUnusableError) as error:
                self._refusals.note(method.__name__, args, error)
                raise
            finally:
                if self._device.unwraps >= MAX_UNWRAPS:
                    self._server.stop()

        return call

    def _lost(self) -> bool:
        """Whether the session is gone, and not only one call that the module did not like."""
        try:
            self._device.random(1)
        except HsmError:
            log.warning("the device is lost; the worker leaves")
            return True
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m keyvault.gate.worker")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--module", choices=("keys", "log", "spare"), required=True)
    for name in ("worker", "listener-fd", "pin-fd", "keeper", "restarts"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
