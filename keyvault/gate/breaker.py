"""A circuit breaker: when the device is down, callers hear so at once and stop piling up."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hsm.errors import DeviceTimeoutError, DeviceUnavailableError

DEADLINE = 10.0  # seconds a device call may take; ModuleSettings.deadline
GRACE = 5.0  # seconds more than the gate has itself, so that its own answer comes first
STATUS_TIMEOUT = 2.5  # seconds: a gate that is slower than this is not ready
FAILURES = 3  # in a row, until the breaker opens
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds until one call is let through to try

OnChange = Callable[[bool, str], None]
"""(whether the device is up again, why not): called once for each change."""


@dataclass(frozen=True, slots=True)
class State:
    """Whether the device answers, why not, and since when (`time.time`)."""

    up: bool
    reason: str
    since: float


class Breaker:
    """Counts failures in a row. Any thread may use it."""

    def __init__(
        self, on_change: OnChange | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_change = on_change
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._next_try = 0.0
        self._state = State(up=True, reason="", since=time.time())

    @property
    def state(self) -> State:
        return self._state

    def check(self) -> None:
        """Raise `DeviceUnavailableError` while open, but let one call through now and then."""
        if self._state.up:
            return
        with self._lock:
            left = self._next_try - self._clock()
            if left <= 0:  # this call is the try; only its success undoes the longer pause
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
                self._next_try = self._clock() + self._pause
                return
        error = DeviceUnavailableError(
            f"the HSM is down: {self._state.reason}", next_step="try again later"
        )
        error.retry_after = left
        raise error

    def succeeded(self) -> None:
        """Any answer of the device closes the breaker, also one that says no."""
        if not self._failures:
            return
        with self._lock:
            was_up = self._state.up
            self._failures, self._pause = 0, FIRST_PAUSE
            if not was_up:
                self._state = State(up=True, reason="", since=time.time())
        if not was_up and self._on_change:
            self._on_change(True, "")

    def failed(self, reason: str) -> None:
        with self._lock:
            self._failures += 1
            opens = self._state.up and self._failures >= FAILURES
            if opens:
                self._state = State(up=False, reason=reason, since=time.time())
                self._next_try = self._clock() + self._pause
        if opens and self._on_change:
            self._on_change(False, reason)


@contextmanager
def watched(breaker: Breaker, deadline: float) -> Iterator[None]:
    """Tell the breaker how a call went, and say whether the device was silent or gone."""
    started = time.monotonic()
    try:
        yield
    except DeviceUnavailableError as error:
        breaker.failed(str(error))
        raise
    except OSError as error:
        failure = _failure(error, late=time.monotonic() - started >= deadline)
        breaker.failed(str(failure))
        raise failure from error
    except Exception:
        breaker.succeeded()  # a no is an answer, too
        raise
    breaker.succeeded()


def _failure(error: OSError, *, late: bool) -> DeviceUnavailableError:
    if late or isinstance(error, TimeoutError):
        return DeviceTimeoutError("the device did not answer in time", next_step="try again soon")
    return DeviceUnavailableError(f"the gate is away: {error}", next_step="try again")
