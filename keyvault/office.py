"""How a process that holds an office begins and ends: the sealer, the feeder, the clerk.

It works in turns while it is the elected one and leaves when it is told to. Its exit status says
whether the same again could go better.
"""

import argparse
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keyvault.domain.errors import InvalidInputError, VaultError
from keyvault.settings import Settings

Run = Callable[[Settings, threading.Event], None]
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
    stop, log = threading.Event(), logging.getLogger(name)
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
