"""A bound on failed log-ins, so that nobody without a certificate can fill the log with them."""

import time
from collections import OrderedDict

from keyvault.domain.errors import BusyError

WINDOW = 10.0  # seconds
LIMIT = 30  # failures of one source in a window
SOURCES = 1_024  # remembered at once


class Throttle:
    """Counts failures by source. One source's failures delay no other."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, source: str) -> None:
        """Raise `BusyError` while a source has failed too often."""
        began, count = self._failures.get(source, (0.0, 0))
        if count >= LIMIT and time.monotonic() - began < WINDOW:
            raise BusyError(
                "too many failed log-ins from this address", next_step="try again in ten seconds"
            )

    def failed(self, source: str) -> None:
        now = time.monotonic()
        began, count = self._failures.pop(source, (now, 0))
        if now - began >= WINDOW:
            began, count = now, 0
        self._failures[source] = (began, count + 1)
        if len(self._failures) > SOURCES:
            self._failures.popitem(last=False)
