"""Deadlines that a C call cannot overstay: the kernel kills the process that makes it.

A signal handler in Python would wait for the C call to return, so SIGALRM keeps its default.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, cast

from hsm.device import Device

SLOW = 6  # what makes a key, opens a token or lists it may take this many deadlines
_SLOW = frozenset(
    {"generate", "generate_wrapped", "unwrap", "inventory", "inspect", "close"}
    | {"open_transport", "combine", "split", "open_envelope", "seal_envelope"}
)


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Die by SIGALRM unless the block ends in time."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def timed(device: Device, seconds: float) -> Device:
    """The same device, each of whose calls is made under the deadline."""
    return cast("Device", _Timed(device, seconds))


class _Timed:
    def __init__(self, device: Device, seconds: float) -> None:
        self._device = device
        self._seconds = seconds

    def sign_all(self, key: Any, mechanism: Any, data: Sequence[bytes], **options: Any) -> Any:
        """Each of several has the whole deadline, and so has finding the key."""
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        try:
            items = self._each(data) if len(data) > 1 else data
            return self._device.sign_all(key, mechanism, items, **options)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _each(self, data: Sequence[bytes]) -> Iterator[bytes]:
        for item in data:
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
            yield item

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._device, name)
        if not callable(value):
            return value
        call = _timed_call(value, self._seconds * (SLOW if name in _SLOW else 1))
        self.__dict__[name] = call  # so that the next use finds it without this detour
        return call


def _timed_call(call: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    start, alarm = signal.setitimer, signal.ITIMER_REAL

    @wraps(call)
    def timed_call(*args: Any, **options: Any) -> Any:
        start(alarm, seconds)
        try:
            return call(*args, **options)
        finally:
            start(alarm, 0)

    return timed_call
