"""How a process that holds an office begins and ends: the sealer, the feeder, the clerk.

It works in turns while it is the elected one and leaves when it is told to. Its exit status says
whether the same again could go better.
"""

import argparse
import contextlib
import logging
import os
import select
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keyvault.domain.errors import InvalidInputError, VaultError
from keyvault.settings import Settings


class Stop:
    """Set once, when it is time to leave; any number of threads may wait for it.

    An event of `threading` has a lock, and a handler of signals may run while the very thread that
    it interrupts has just taken it: then nobody leaves ever. A pipe has none.
    """

    def __init__(self) -> None:
        self._told, self._tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def set(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is full, so it has been set
            os.write(self._tell, b"\0")

    def is_set(self) -> bool:
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; return whether it is set."""
        return bool(select.select([self._told], [], [], seconds)[0])


Run = Callable[[Settings, Stop], None]
"""(settings, set when it is time to leave) → the office's work, turn by turn."""


@dataclass(frozen=True, slots=True)
class Hopeless:
    """Errors after which another start would end the same way, and what is said and returned."""

    errors: tuple[type[VaultError], ...] = (InvalidInputError,)
    status: int = os.EX_CONFIG
    words: str = ""


def hold(
    name: str,
    description: str | None,
    run: Run,
    arguments: Sequence[str] | None = None,
    hopeless: Hopeless = Hopeless(),
) -> int:
    """Run until SIGTERM or SIGINT; return the exit status.

    EX_TEMPFAIL is for what another start may mend, such as a database that went away.
    """
    parser = argparse.ArgumentParser(prog=f"keyvault.{name}", description=description)
    parser.add_argument("--settings", type=Path, required=True)
    settings = Settings.load(parser.parse_args(arguments).settings)
    logging.basicConfig(level=logging.INFO, format=f"{name}: %(message)s")
    stop, log = Stop(), logging.getLogger(name)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(settings, stop)
    except hopeless.errors as error:
        log.critical("%s%s. %s", hopeless.words, error, error.next_step)
        return hopeless.status
    except VaultError as error:
        log.error("%s. %s", error, error.next_step)  # noqa: TRY400  (a sentence, no stack)
        return os.EX_TEMPFAIL
    return os.EX_OK
