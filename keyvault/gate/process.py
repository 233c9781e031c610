"""What the gate's processes ask of the kernel, and how they handle a PIN."""

import argparse
import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import stat
import sys
import termios
from collections.abc import Iterator
from getpass import getpass
from pathlib import Path

from keyvault.domain.errors import InvalidInputError
from keyvault.settings import ModuleSettings, Settings

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4  # linux/prctl.h
PIN_LIMIT = 256  # bytes


def harden() -> None:
    """No core dump, and no other process of this user may read this one's memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(PR_SET_DUMPABLE, 0)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` is gone, hung in a C call or not."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(os.EX_UNAVAILABLE)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")


def title(options: argparse.Namespace) -> str:
    """What a process's lines in the journal begin with."""
    number = f"-{options.worker}" if options.worker > 1 else ""
    return f"gate {options.module}{number}"


@contextlib.contextmanager
def turn(file: Path) -> Iterator[None]:
    """Wait until no other gate of this host logs in; the kernel lets go for who dies here.

    SoftHSM writes its token's file anew at every login, and who reads it half written finds a
    token that has no PIN: a refusal that no gate may try to better.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def wipe(secret: bytearray) -> None:
    """Overwrite it. Best effort: nobody can promise that no copy was made on the way."""
    secret[:] = bytes(len(secret))


def read_pin(descriptor: int) -> bytearray:
    """Read a PIN to the end of the descriptor and close it. Raises `InvalidInputError`."""
    buffer = bytearray(PIN_LIMIT + 1)
    size = 0
    with contextlib.closing(os.fdopen(descriptor, "rb", buffering=0)) as file:
        while size <= PIN_LIMIT and (count := file.readinto(memoryview(buffer)[size:])):
            size += count
    pin = buffer[:size].rstrip(b"\n")
    wipe(buffer)
    if not 0 < len(pin) <= PIN_LIMIT:
        raise InvalidInputError(f"a PIN has 1 to {PIN_LIMIT} bytes")
    return pin


def find_pin(settings: Settings, module: ModuleSettings, descriptor: int | None) -> bytearray:
    """Take the PIN from a descriptor, else the credentials folder, else a prompt.

    Raises `InvalidInputError` if it is nowhere, or in a file that others may read.
    """
    if descriptor is not None:
        return read_pin(descriptor)
    folder = settings.credentials or os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and module.pin:
        return _pin_in(Path(folder) / module.pin)
    try:
        return bytearray(getpass(f"PIN of {module.uri.partition('?')[0]}: ").encode())
    except (EOFError, termios.error) as error:
        raise InvalidInputError(
            "there is no PIN, and no terminal to ask for it",
            next_step="give --pin-fd, or a file in the credentials folder",
        ) from error


def _pin_in(path: Path) -> bytearray:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInputError(f"cannot read the PIN file {path}: {error.strerror}") from error
    if os.fstat(descriptor).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        os.close(descriptor)
        raise InvalidInputError(
            f"others may read the PIN file {path}", next_step=f"chmod 600 {path}"
        )
    return read_pin(descriptor)


@contextlib.contextmanager
def pipe_of(pin: bytearray) -> Iterator[int]:
    """Lay a PIN into a pipe for a child; gives the end to read. A pipe holds far more."""
    reader, writer = os.pipe()
    try:
        os.write(writer, pin)
        os.close(writer)
        yield reader
    finally:
        os.close(reader)
