"""Who fails over and over waits longer and longer, and nobody else does.

An identity is what a caller claims to be, in its one spelling: a person's id at a login, or the
thumbprint of a certificate. What is locked is the claim, so whoever knows a person's id can keep
that person from opening a new session for `LONGEST` at a time; open sessions go on. Time is
monotonic: no jump of the clock ends a lock.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from keyvault.domain.errors import LockedOutError

FREE = 5  # failures that cost nothing
FIRST, LONGEST = 1.0, 60.0  # seconds: the next failure's delay, doubled at each further one
IDENTITIES = 10_000  # remembered at once, some 300 bytes each
_LOOKED_AT = 16  # of the oldest, when one has to be forgotten

Locked = Callable[[str, int, float], object]
"""(identity, failures so far, seconds), once for each lock."""


@dataclass(slots=True)
class _Tries:
    failures: int = 0
    until: float = 0.0


class Lockout:
    """Failures by identity, since the last success. Lives in one event loop."""

    def __init__(self, locked: Locked, clock: Callable[[], float] = time.monotonic) -> None:
        self._locked = locked
        self._clock = clock
        self._tries: OrderedDict[str, _Tries] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tries)

    def check(self, identity: str) -> None:
        """Raise `LockedOutError` while this identity has to wait. That is no failure."""
        tries = self._tries.get(identity)
        if tries is not None and (left := tries.until - self._clock()) > 0:
            raise LockedOutError(
                "too many failed tries in this name",
                next_step="wait as Retry-After says",
                retry_after=math.ceil(left),
            )

    def failed(self, identity: str) -> None:
        """Count a failure. Those that were under way when the lock fell make it no longer."""
        now = self._clock()
        tries = self._tries.setdefault(identity, _Tries())
        self._tries.move_to_end(identity)
        if now >= tries.until:
            tries.failures += 1
            if tries.failures > FREE:
                delay = min(LONGEST, FIRST * 2 ** min(tries.failures - FREE - 1, 16))
                tries.until = now + delay
                self._locked(identity, tries.failures, delay)
        if len(self._tries) > IDENTITIES:
            self._forget_one(now)

    def succeeded(self, identity: str) -> None:
        self._tries.pop(identity, None)

    def clear(self) -> None:
        """Forget everybody's failures."""
        self._tries.clear()

    def _forget_one(self, now: float) -> None:
        """Forget the oldest who is not locked now, so that a flood of names frees nobody."""
        oldest = list(islice(self._tries.items(), _LOOKED_AT))
        free = [name for name, tries in oldest if tries.until <= now]
        del self._tries[free[0] if free else oldest[0][0]]
