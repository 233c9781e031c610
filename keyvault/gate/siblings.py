"""The other gates of one token on one host: each may hold a key that this one destroys."""

import time
from glob import escape
from pathlib import Path

from hsm.errors import DeviceUnavailableError
from keyvault import wire

PATIENCE = 5.0  # seconds for a gate to let go: one that died has a successor by then
PAUSE = 0.05  # seconds before a gate that went away is asked again
_NOBODY = (FileNotFoundError, ConnectionRefusedError)


class Siblings:
    """Gates that are told of a destruction before anybody hears that the key is gone."""

    def __init__(self, first: Path) -> None:
        self._first = first

    def forget(self, key_id: bytes) -> None:
        """Have every one of them hold nothing of the key.

        Raises `DeviceUnavailableError` while one may: it has a process, and that does not answer.
        """
        until = time.monotonic() + PATIENCE
        for socket in self._places():
            _tell(socket, key_id, until)

    def _places(self) -> list[Path]:
        """Where one listens or has listened, whatever this process's settings know of."""
        stem, suffix = self._first.stem, self._first.suffix
        found = self._first.parent.glob(f"{escape(stem)}-*{escape(suffix)}")
        return sorted(path for path in found if path.stem[len(stem) + 1 :].isdecimal())


def _tell(socket: Path, key_id: bytes, until: float) -> None:
    client = wire.Client(socket)
    try:
        while True:
            try:
                client.call("forget", key_id, timeout=max(PAUSE, until - time.monotonic()))
            except OSError as error:
                # Nobody listens: then no worker lives, for it holds the socket and ends with its
                # keeper. What it held went with it, and the next one reads the register first.
                if isinstance(error.__cause__, _NOBODY):
                    return
                if time.monotonic() >= until:
                    raise DeviceUnavailableError(
                        f"{socket.name} does not say that it let go of the key",
                        next_step="wait until that gate answers, then: keyvault reconcile",
                    ) from error
                time.sleep(PAUSE)
            else:
                return
    finally:
        client.close()
