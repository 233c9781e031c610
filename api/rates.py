"""How often a certificate may call, and all systems of a scope together: token buckets.

Each process counts by itself, so with several workers a client with many connections gets as much
from each. Without a certificate, calls are counted by address.
"""

import math
from collections.abc import Callable

from keyvault.domain.access import Principal
from keyvault.domain.errors import RateLimitedError
from keyvault.domain.people import System
from keyvault.settings import Rate, RateSettings

REMEMBERED = 8_192  # buckets of a kind at once
_ROUNDING = 1e-6  # seconds


class Rates:
    """Both kinds of buckets. `refused` is told (who or what, why) of each call that is too many."""

    def __init__(self, settings: RateSettings, refused: Callable[[str, str], object]) -> None:
        self._callers = Buckets(settings.certificate)
        self._scopes = Buckets(settings.scope)
        self._refused = refused

    def call(self, certificate: str | None, address: str, now: float) -> None:
        """Take a token of this certificate, or without one of this address, before it is judged.

        `now` is monotonic, in seconds. Raises `RateLimitedError`.
        """
        if wait := self._callers.wait(certificate or address, now):
            self._refused(address, "more calls than one client may make")
            raise _too_many("you call more often than one client may", wait)

    def scope(self, who: Principal, now: float) -> None:
        """Take a token of the scope that a system acts for. Raises `RateLimitedError`."""
        if isinstance(who.subject, System) and (wait := self._scopes.wait(who.subject.scope, now)):
            self._refused(who.actor, "more calls than one scope may make")
            raise _too_many("the systems of your scope call more often than they may", wait)


class Buckets:
    """One number a bucket: when it will be full again."""

    def __init__(self, rate: Rate) -> None:
        self._step = 1 / rate.per_second
        self._depth = rate.burst * self._step + _ROUNDING
        self._full: dict[object, float] = {}

    def __len__(self) -> int:
        return len(self._full)

    def wait(self, name: object, now: float) -> float:
        """Take a token and return 0, or say in how many seconds there will be one."""
        full = max(self._full.get(name, now), now) + self._step
        over = full - now - self._depth
        if over > 0:
            return over
        self._full[name] = full
        if len(self._full) > REMEMBERED:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Forget who is as good as new; if those are few, who has been here longest as well."""
        kept = [(name, full) for name, full in self._full.items() if full > now]
        self._full = dict(kept[max(0, len(kept) - REMEMBERED * 3 // 4) :])


def _too_many(message: str, wait: float) -> RateLimitedError:
    step = "ask less often, or for more in one call"
    return RateLimitedError(message, next_step=step, retry_after=math.ceil(wait))
