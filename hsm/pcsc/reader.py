"""Card readers by name, and one card in one of them, held exclusively.

Every call has a deadline that holds: PC/SC is spoken by a process of its own (`hsm.pcsc.child`)
that is killed when it is late. A new connection is a new process, so it knows nothing of a
service that was restarted or a reader that was plugged in meanwhile.
"""

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from hsm.errors import CardMuteError, HsmError, PcscUnavailableError, restored
from hsm.pcsc.apdu import TransmissionProtocol

CALL_SECONDS = 10.0
CLOSE_SECONDS = 2.0
START_SECONDS = 10.0  # allowed on top for the process itself to start
LINE_LIMIT = 300_000  # characters: an extended response in hex, and room
CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Reader:
    """`atr` is the answer to reset of the card in it (ISO/IEC 7816-3), empty without a card.

    `changes` counts insertions and removals, so that a card exchanged unseen is noticed.
    """

    name: str
    atr: bytes
    changes: int = 0

    @property
    def has_card(self) -> bool:
        return bool(self.atr)


def list_readers(seconds: float = CALL_SECONDS) -> list[Reader]:
    """Readers in the order of the PC/SC service. Raises `PcscUnavailableError`."""
    with Child() as child:
        return child.readers(seconds)


def wait_for_card(reader: str, *, present: bool = True, seconds: float = 60.0) -> bool:
    """Wait until a card is in the reader, or none is; False if that was not seen in time.

    The reader may be unplugged and the service restarted meanwhile.
    """
    deadline = time.monotonic() + seconds  # the same clock in every process of a host
    request = {"do": "wait", "reader": reader, "present": present, "deadline": deadline}
    with Child() as child:
        return bool(child.ask(request, seconds + CLOSE_SECONDS)["seen"])


class PcscCard:
    """An `apdu.Transport`: the card that was in the reader at opening, and never another.

    It is reset at opening and at closing, and nobody else can reach it between. Once a call has
    failed the connection is dead: open a new one.
    """

    def __init__(self, reader: str, seconds: float = CALL_SECONDS) -> None:
        """Open it, within `seconds`.

        Raises `ReaderNotFoundError`, `CardAbsentError`, `ReaderBusyError`, `CardMuteError`,
        `PcscUnavailableError`.
        """
        self.reader = reader
        self._child = Child()
        try:
            answer = self._child.ask({"do": "open", "reader": reader}, seconds)
        except BaseException:
            self._child.kill()
            raise
        self.atr = bytes.fromhex(answer["atr"])
        self.protocol = TransmissionProtocol(answer["protocol"])

    def transmit(self, apdu: bytes, seconds: float) -> bytes:
        answer = self._child.ask({"do": "transmit", "apdu": apdu.hex()}, seconds)
        return bytes.fromhex(answer["response"])

    def reset(self) -> None:
        self._child.ask({"do": "reset"}, CALL_SECONDS)

    def close(self) -> None:
        """Reset the card and let go of it. Never raises, and never takes over two seconds."""
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Child:
    """The process, a line out and a line in. After a late answer it is dead."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hsm.pcsc.child"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            process_group=0,  # the terminal's ^C is ours to answer
        )
        self._grace = START_SECONDS

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        if self._process.poll() is not None:
            raise PcscUnavailableError(
                "this connection to the card has ended", next_step="Open a new one."
            )
        deadline = time.monotonic() + seconds + self._grace
        self._grace = 0.0
        try:
            _pipe(self._process.stdin).write(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(self._line(deadline))
        except TimeoutError:
            self.kill()
            raise _late(request["do"]) from None
        except (BrokenPipeError, ValueError) as error:
            self.kill()
            raise PcscUnavailableError(
                "the process that talks to the PC/SC service ended",
                next_step="Repeat; if it ends again, see its last words above.",
            ) from error
        if "error" in answer:
            raise restored(answer)
        return answer

    def readers(self, seconds: float) -> list[Reader]:
        """Readers as they are now. Raises `PcscUnavailableError`; the next call begins anew."""
        found = self.ask({"do": "list"}, seconds)["readers"]
        return [Reader(name, bytes.fromhex(atr), changes) for name, atr, changes in found]

    def _line(self, deadline: float) -> bytes:
        """Raises TimeoutError, and ValueError on an end without a line."""
        pipe = _pipe(self._process.stdout)
        line = bytearray()
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            chunk = os.read(pipe.fileno(), CHUNK)
            if not chunk or len(line) > LINE_LIMIT:
                raise ValueError("no whole line")
            line += chunk
        return bytes(line)

    def close(self) -> None:
        try:
            self.ask({"do": "close"}, CLOSE_SECONDS)
        except HsmError:
            pass  # killing it makes the service let go of the card, too
        finally:
            self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        _pipe(self._process.stdin).close()
        _pipe(self._process.stdout).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def _pipe(pipe: Any) -> Any:
    """Popen's type allows None, which cannot be with PIPE."""
    return pipe


def _late(call: str) -> HsmError:
    """From outside a mute card and a hung service look the same, unless no card was asked."""
    if call in ("open", "transmit"):
        return CardMuteError(
            "the card did not answer in time",
            next_step="Take the card out, put it in again, and repeat; "
            "if that does not help, restart the PC/SC service (pcscd).",
        )
    return PcscUnavailableError(
        "the PC/SC service did not answer in time", next_step="Restart the PC/SC service (pcscd)."
    )
