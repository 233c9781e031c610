"""The clerk: does what the clock asks for, so that no caller has to. Nothing waits for it.

It writes down what has ended and what was tampered with, tells people what will end, and who
has to sign. One process of all hosts does it at a time. Rights and keys end by the clock, whether
it runs or not.
"""

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial

from keyvault.bootstrap import build
from keyvault.carriers import carriers
from keyvault.domain.errors import VaultError
from keyvault.domain.notices import Carrier
from keyvault.office import Stop, hold
from keyvault.operations import (
    expiry,
    fsck,
    handovers,
    heads,
    heartbeat,
    notices,
    quorums,
    revocation,
    stations,
    tokens,
    watch,
)
from keyvault.operations.vault import Vault
from keyvault.settings import Settings

log = logging.getLogger("clerk")


def run(settings: Settings, stop: Stop) -> None:
    """Work while this process is the elected one, until `stop`."""
    vault, channels = build(settings), carriers(settings)
    slow = [
        Background("fsck", partial(fsck.when_due, vault)),
        Background("heads", partial(heads.daily, vault)),
    ]
    try:
        with vault.database.election("clerk") as holds:
            while not stop.wait(settings.notices.interval):
                if holds():
                    turn(vault, channels)
                    for work in slow:
                        work.start()
    finally:
        vault.close()


class Background:
    """Work that takes too long for a turn: one thread of it at a time."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self._name, self._work = name, work
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless it is under way."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except VaultError as error:
            log.warning("%s: %s", self._name, error)


def turn(vault: Vault, channels: Sequence[Carrier]) -> None:
    """Do everything once. What fails now is tried again at the next turn."""
    tasks: tuple[Callable[[], int], ...] = (
        partial(watch.authority, vault),
        partial(watch.sessions, vault),
        partial(watch.gates, vault),
        partial(notices.expire, vault),
        partial(handovers.expire, vault),
        partial(expiry.sweep, vault),
        partial(quorums.sweep, vault),
        lambda: len(tokens.sweep(vault)),
        partial(stations.sweep, vault),
        partial(revocation.renew, vault),
        partial(notices.tell, vault, channels),
        partial(heartbeat.beat, vault),
    )
    for task in tasks:
        try:
            task()
        except VaultError as error:
            log.warning("%s", error)


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT."""
    return hold("clerk", __doc__, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
