"""A card that is in a reader elsewhere: APDUs go out by messages, and answers come back.

The side that decides runs in a thread of its own and sees an ordinary `Transport`. Whoever
carries the messages calls `exchange`, one at a time, as on a telephone: an answer in, the next
message out. Silence ends it: then the card may have done its last command or not.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hsm.errors import (
    OF_TOKENS,
    CardDataError,
    CardError,
    CardRemovedError,
    HsmError,
    restored,
    told,
)
from hsm.pcsc.apdu import RESPONSE_LIMIT, TransmissionProtocol
from hsm.pcsc.trace import Trace

Message = dict[str, Any]
GRACE = 15.0  # seconds that a message and its answer may take on the way
CALL_SECONDS = 60.0
PIN_SECONDS = 180.0  # for somebody to choose a PIN
PATIENCE = 10.0  # seconds until "wait" is said, so that no proxy thinks the call has died


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


class Relay:
    """One session. `atr` and `protocol` are what the other side says of its card."""

    def __init__(self, atr: bytes, protocol: TransmissionProtocol, idle: float) -> None:
        self.atr = atr
        self.protocol = protocol
        self.trace = Trace()
        self._idle = idle
        self._out: queue.Queue[Message | _Failed] = queue.Queue(1)
        self._in: queue.Queue[Message] = queue.Queue(1)
        self._number = 0
        self._taken = 0
        self._progress = ""
        self._last: Message | _Failed = {"do": "wait"}
        self._ended = threading.Event()  # nothing more can be asked
        self._over = threading.Event()  # the work has returned
        self._lock = threading.Lock()
        self.heard = time.monotonic()

    @property
    def ended(self) -> bool:
        return self._over.is_set()

    def wait(self, seconds: float) -> None:
        """Until the work has returned, or so long."""
        self._over.wait(seconds)

    # The side that decides

    def transmit(self, apdu: bytes, seconds: float) -> bytes:
        answer = self.ask({"do": "apdu", "apdu": apdu.hex(), "seconds": seconds}, seconds)
        try:
            response = bytes.fromhex(answer["response"])
        except (KeyError, TypeError, ValueError) as error:
            raise CardDataError("the desk answered something that is no response") from error
        if not 2 <= len(response) <= RESPONSE_LIMIT:  # noqa: PLR2004  (a status word)
            raise CardDataError(f"the desk answered {len(response)} bytes")
        return response

    def reset(self) -> None:
        self.ask({"do": "reset"}, 0.0)

    def call(self, call: Message) -> Message:
        """One call on a PKCS#11 token there."""
        answer = self.ask({"do": "call", "call": call}, CALL_SECONDS)
        result = answer.get("result")
        if not isinstance(result, dict):
            raise CardDataError("the desk answered something that is no result")
        return result

    def own_pin(self, given: bytes) -> None:
        """Have the holder replace the PIN `given` by one of their own, or give theirs if empty.

        It is typed at the other side and never comes here.
        """
        self.ask({"do": "pin", "pin": given.decode()}, PIN_SECONDS)

    def ask(self, message: Message, seconds: float) -> Message:
        """Have the other side do something. Raises the `HsmError` that it had, or its silence.

        Here everything passes, so here it is written down.
        """
        if self._ended.is_set():
            raise _gone()
        self.trace.asking(message)
        try:
            answer = self._answer(message, seconds)
        except HsmError as error:
            self.trace.failed(error)
            raise
        self.trace.answered(answer)
        return answer

    def _answer(self, message: Message, seconds: float) -> Message:
        self._number += 1
        self._out.put({**message, "number": self._number, "progress": self._progress})
        try:
            answer = self._in.get(timeout=seconds + GRACE + self._idle)
        except queue.Empty:
            self._ended.set()
            raise _gone() from None
        if answer.get("closed"):
            self._ended.set()
            raise _gone()
        if "error" in answer:
            raise _restored(answer)
        return answer

    def tell(self, progress: str) -> None:
        """Say how far the work is, with the next message."""
        self._progress = progress

    def run(self, work: Callable[["Relay"], Message]) -> None:
        """Begin `work` in a thread; what it returns is the last message, {"do": "done"} and it."""

        def decide() -> None:
            try:
                last: Message | _Failed = {"do": "done", **work(self)}
            except Exception as error:  # noqa: BLE001  (it is the other thread's to answer)
                last = _Failed(error)
            self._over.set()
            self._ended.set()
            self._out.put(last)

        threading.Thread(target=decide, name="relay", daemon=True).start()

    # The side that carries

    def exchange(self, answer: Message | None) -> Message:
        """Take an answer in and give the next message out; {"do": "wait"} if there is none yet.

        Raises what the work raised, and `CardDataError` on an answer out of turn.
        """
        with self._lock:
            self.heard = time.monotonic()
            if answer is None or not self._repeats(answer):
                if answer is not None:
                    self._take(answer)
                self._last = self._next()
        if isinstance(self._last, _Failed):
            raise self._last.error
        return self._last

    def _next(self) -> "Message | _Failed":
        try:
            return self._out.get(timeout=PATIENCE)
        except queue.Empty:
            return {"do": "wait"}

    def _repeats(self, answer: Message) -> bool:
        """An answer that was sent again, since what came of it was lost on the way."""
        return answer.get("number") == self._taken and self._taken > 0

    def _take(self, answer: Message) -> None:
        if answer.get("number") != self._number or self._in.full():
            raise CardDataError("an answer to a question that was not asked")
        self._taken = self._number
        self._in.put(answer)

    def hang_up(self) -> None:
        """The other side is gone. The work hears of it at its next command."""
        if not self._ended.is_set():
            try:
                self._in.put_nowait({"closed": True})
            except queue.Full:
                return


def _gone() -> CardError:
    return CardRemovedError(
        "the desk with the reader is gone", next_step="Begin again at the desk; the job goes on."
    )


def _restored(answer: Message) -> HsmError:
    fields = ("error", "message", "cause", "next_step")
    try:
        error = restored({name: str(answer[name])[:500] for name in fields})
    except (KeyError, TypeError, ValueError):
        return CardDataError("the desk told of an error that nobody knows")
    return error if isinstance(error, OF_TOKENS) else CardDataError(str(error))


def carry(transport: Any, message: Message) -> Message:
    """Do one message at the reader: what a desk knows to do with a card, and no more."""
    number = message["number"]
    try:
        if message["do"] == "apdu":
            apdu, seconds = bytes.fromhex(message["apdu"]), float(message["seconds"])
            allowed(apdu)
            return {"number": number, "response": transmit_hex(transport, apdu, seconds)}
        if message["do"] == "call":
            return {"number": number, "result": _called(transport, message["call"])}
        if message["do"] == "pin":
            _own_pin(transport, message["pin"])
        else:
            transport.reset()
    except HsmError as error:
        return {"number": number, **told(error)}
    return {"number": number, "response": ""}


def _called(transport: Any, call: Message) -> Message:
    """A call on a token that has a module instead of APDUs, see `hsm.usb`."""
    made = getattr(transport, "call", None)
    if made is None:
        raise CardDataError("the server calls a PKCS#11 token, and a card is in the reader")
    return dict(made(call))


def _own_pin(transport: Any, given: str) -> None:
    """Where the holder sits, see `hsm.pcsc.holder`."""
    ask = getattr(transport, "own_pin", None)
    if ask is None:
        raise CardDataError("the server asks for a holder's PIN, and this desk asks nobody for it")
    ask(given.encode())


def transmit_hex(transport: Any, apdu: bytes, seconds: float) -> str:
    return str(transport.transmit(apdu, min(seconds, SECONDS_LIMIT)).hex())


SECONDS_LIMIT = 90.0  # that a desk waits for one command of its card
APDU_LIMIT = 4_096  # bytes
# What a desk lets through: PIV's instructions, GET RESPONSE, the three of a maker's, in clear or
# in a secure channel, and what begins such a channel and gives it other keys.
PIV_CLASSES = (0x00, 0x04)
CLASSES = {0x50: (0x80,), 0x82: (0x84,), 0xD8: (0x84,)}
ALLOWED = frozenset(
    {0x20, 0x24, 0x2C, 0x47, 0x87, 0xA4, 0xC0, 0xCB, 0xDB, 0xF8, 0xF9, 0xFF, *CLASSES}
)


def allowed(apdu: bytes) -> None:
    """Raise `CardDataError` at what no issue of a PIV card asks."""
    known = len(apdu) >= 4 and apdu[0] & ~0x10 in CLASSES.get(apdu[1], PIV_CLASSES)  # noqa: PLR2004  (a header)
    if not known or apdu[1] not in ALLOWED or len(apdu) > APDU_LIMIT:
        raise CardDataError(
            f"the server asked for {apdu[:4].hex()}, which this desk does not pass on",
            next_step="See whether this is your server, and whether both have one version.",
        )
