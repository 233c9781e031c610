"""What a gate saw last, written where a restored copy does not bring it back.

Its token holds a data object, its folder a file or a table: each shows that the other is old.
Whoever restores both together, and the database, still has the witnesses against them.
"""

import json
import logging
import time
from pathlib import Path

from hsm.device import Device
from hsm.errors import HsmError
from keyvault import durable
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.errors import RolledBackError
from keyvault.gate.register import Register

LABEL = "keyvault anchor"
EVERY = 10.0  # seconds that the object on the log's token may lag behind the newest checkpoint
NEXT = "start nothing, keep every copy, see runbook rolled-back"

log = logging.getLogger("keyvault.gate")


class LogAnchor:
    """The largest log that was ever sealed here: size, root and epoch.

    The file is as new as the newest checkpoint, the object on the token up to `EVERY` older.
    """

    def __init__(self, device: Device, file: Path) -> None:
        self._device = device
        self._file = file
        self._written = 0.0
        self._in_token = 0

    def read(self) -> Document:
        """{"size", "root", "epoch"}. Raises `RolledBackError` if the token is an older copy."""
        kept, found = _of_file(self._file), _of_token(self._device)
        self._in_token = found["size"]
        known = (kept["epoch"], kept["in_token"])
        if (found["epoch"], found["size"]) < known:
            raise RolledBackError(
                f"the token of the log is an older copy: it has seen {found['size']} events, and "
                f"had seen {kept['in_token']} before",
                next_step=NEXT,
            )
        return max(found, kept, key=lambda one: (one["epoch"], one["size"]))

    def note(self, size: int, root: bytes, epoch: int, *, at_once: bool = False) -> None:
        """Write down what was sealed; the token is asked only now and then, or `at_once`."""
        seen: Document = {"size": size, "root": root.hex(), "epoch": epoch}
        if at_once or time.monotonic() - self._written >= EVERY:
            self._device.put_data(LABEL, canonical(seen))
            self._in_token, self._written = size, time.monotonic()
        try:
            durable.replace(self._file, canonical({**seen, "in_token": self._in_token}))
        except OSError as error:
            log.warning("the anchor %s cannot be written: %s", self._file, error.strerror)


class RedeemedAnchor:
    """How many requests the keys gate has redeemed, on each of its tokens.

    A token that says less than the gate wrote to it is an old copy, and so is a register that
    knows of fewer requests than a token: whatever those allowed could be done a second time.
    """

    def __init__(self, device: Device, register: Register, node: str) -> None:
        self._device = device
        self._register = register
        self._label = f"{LABEL} {node}"
        self._told = f"{device.info.serial} {node}"  # hosts of one token may share the register

    def check(self) -> None:
        """Raise `RolledBackError` if token or register are older than the other has seen."""
        # Another gate of this host may redeem meanwhile, in this order: register, token, register.
        written = self._register.anchored(self._told)
        values = self._device.get_data(self._label)
        there, redeemed = int(values[0]) if values else 0, self._register.redeemed()
        if there < written:
            raise RolledBackError(
                f"the token is an older copy: it has seen {there} redeemed requests, and had seen "
                f"{written} before",
                next_step=NEXT,
            )
        if there > redeemed:
            raise RolledBackError(
                f"the gate's folder is an older copy: it holds {redeemed} redeemed requests, and "
                f"its token has seen {there}",
                next_step=NEXT,
            )

    def note(self) -> None:
        """Write the count to the token, and then that it is there."""
        redeemed = self._register.redeemed()
        self._device.put_data(self._label, str(redeemed).encode())
        self._register.anchor(self._told, redeemed)


def _of_token(device: Device) -> Document:
    try:
        values = device.get_data(LABEL)
    except HsmError as error:
        raise RolledBackError(f"the anchor on the token cannot be read: {error}") from error
    return json.loads(values[0]) if values else {"size": 0, "root": "", "epoch": 1}


def _of_file(path: Path) -> Document:
    try:
        found: Document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {"size": 0, "root": "", "epoch": 1, "in_token": 0}
    except (OSError, ValueError) as error:
        raise RolledBackError(f"the anchor {path} cannot be read", next_step=NEXT) from error
    return found
