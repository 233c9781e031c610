"""The process that talks to PC/SC: one JSON object in, one out, a line each.

PC/SC's calls block for as long as a card, another program or the service likes, and a thread
inside them cannot be ended. So they are made here, one at a time, and whoever asked kills this
process once its patience is over; the service then lets go of the card. Of pyscard only the
plain functions are used: its monitors die with the service and never come back.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from hsm import errors
from hsm.errors import HsmError, told

try:
    from smartcard import scard  # type: ignore[import-untyped]
except ImportError as reason:  # nothing else needs it, so it may be missing until a card is used
    sys.stdin.readline()
    missing = errors.PcscUnavailableError(
        f"the library for card readers cannot be loaded: {reason}",
        next_step="Install pyscard and the PC/SC service (pcscd), or use a software credential.",
    )
    sys.stdout.write(json.dumps(told(missing)) + "\n")
    sys.exit()

Answer = dict[str, Any]

POLL_SECONDS = 0.2
EXCLUSIVE_SECONDS = 2.0  # how long a card that another program holds is waited for
PROTOCOLS = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
PCI = {
    scard.SCARD_PROTOCOL_T0: scard.SCARD_PCI_T0,
    scard.SCARD_PROTOCOL_T1: scard.SCARD_PCI_T1,
}
INSERT = "Put the card in, and repeat."
AGAIN = "Put the card in again, and repeat."
SERVICE = "See whether the PC/SC service (pcscd) runs and this user may use it."

# What a PC/SC code means. What is not here is the service's trouble.
MEANING: dict[int, tuple[type[HsmError], str, str]] = {
    scard.SCARD_E_NO_SERVICE: (
        errors.PcscUnavailableError,
        "the PC/SC service does not run",
        "Start pcscd; without it, use a software credential.",
    ),
    scard.SCARD_E_NO_READERS_AVAILABLE: (
        errors.ReaderNotFoundError,
        "there is no reader",
        "Plug a reader in.",
    ),
    scard.SCARD_E_READER_UNAVAILABLE: (
        errors.ReaderNotFoundError,
        "the reader is gone",
        "Plug the reader in again.",
    ),
    scard.SCARD_E_SHARING_VIOLATION: (
        errors.ReaderBusyError,
        "another program holds the card",
        "End the other program that uses this card.",
    ),
    scard.SCARD_E_NO_SMARTCARD: (errors.CardAbsentError, "no card is in the reader", INSERT),
    scard.SCARD_W_REMOVED_CARD: (errors.CardRemovedError, "the card was taken out", AGAIN),
    scard.SCARD_W_RESET_CARD: (
        errors.CardRemovedError,
        "another program reset the card",
        "End the other program that uses this card.",
    ),
    scard.SCARD_W_UNRESPONSIVE_CARD: (errors.CardMuteError, "the card does not answer", AGAIN),
    scard.SCARD_W_UNPOWERED_CARD: (errors.CardMuteError, "the card has no power", AGAIN),
    scard.SCARD_E_PROTO_MISMATCH: (
        errors.CardDataError,
        "the card speaks neither T=0 nor T=1",
        "See whether this is a contact card with a chip that works.",
    ),
}


def checked(code: int) -> None:
    if code == scard.SCARD_S_SUCCESS:
        return
    cause = f"{code & 0xFFFFFFFF:08X}"
    kind, message, next_step = MEANING.get(
        code, (errors.PcscUnavailableError, f"the PC/SC service failed ({cause})", SERVICE)
    )
    raise kind(message, cause=cause, next_step=next_step)


class Pcsc:
    """One context, and at most one card."""

    def __init__(self) -> None:
        self._context: Any = None
        self._card: Any = None
        self._protocol = 0

    def list_readers(self, _: Answer) -> Answer:
        """Names, each with the ATR of the card in it and the count of its comings and goings."""
        try:
            states = self._states(self._names(), 0.0)
        except errors.CardError:
            self._forget()  # of a service that was restarted: the next call begins anew
            raise
        return {"readers": [[name, bytes(atr).hex(), state >> 16] for name, state, atr in states]}

    def wait(self, request: Answer) -> Answer:
        """Until a card is in the reader, or is out of it; the reader itself may come and go."""
        name, present, deadline = request["reader"], request["present"], request["deadline"]
        while time.monotonic() < deadline:
            try:
                if self._is_present(name) is present:
                    return {"seen": True}
            except errors.CardError:
                # The service was restarted, and its contexts are worth nothing; or the reader
                # went in this very moment.
                self._forget()
            time.sleep(POLL_SECONDS)
        return {"seen": False}

    def open(self, request: Answer) -> Answer:
        """Exclusive, and reset: nobody's PIN may be left verified, and nobody may join in."""
        name = request["reader"]
        code, self._card, self._protocol = self._connect(name)
        if code == scard.SCARD_E_UNKNOWN_READER:
            raise self._unknown(name)
        checked(code)
        self.reset(request)
        code, _, _, _, atr = scard.SCardStatus(self._card)
        checked(code)
        return {"atr": bytes(atr).hex(), "protocol": self._protocol}

    def transmit(self, request: Answer) -> Answer:
        apdu = list(bytes.fromhex(request["apdu"]))
        code, answer = scard.SCardTransmit(self._card, PCI[self._protocol], apdu)
        checked(code)
        if len(answer) < 2:  # noqa: PLR2004  (a card that is pulled now leaves success and no SW)
            checked(scard.SCARD_W_REMOVED_CARD)
        return {"response": bytes(answer).hex()}

    def reset(self, _: Answer) -> Answer:
        code, self._protocol = scard.SCardReconnect(
            self._card, scard.SCARD_SHARE_EXCLUSIVE, PROTOCOLS, scard.SCARD_RESET_CARD
        )
        checked(code)
        return {}

    def close(self, _: Answer) -> Answer:
        if self._card is not None:
            scard.SCardDisconnect(self._card, scard.SCARD_RESET_CARD)
            self._card = None
        self._forget()
        return {}

    def _connect(self, name: str) -> Any:
        """The service itself touches a card for a moment after insertion, and so may others."""
        deadline = time.monotonic() + EXCLUSIVE_SECONDS
        while True:
            answer = scard.SCardConnect(
                self._established(), name, scard.SCARD_SHARE_EXCLUSIVE, PROTOCOLS
            )
            busy = answer[0] == scard.SCARD_E_SHARING_VIOLATION
            if not busy or time.monotonic() > deadline:
                return answer
            time.sleep(POLL_SECONDS)

    def _unknown(self, name: str) -> HsmError:
        there = ", ".join(map(repr, self._names()))
        return errors.ReaderNotFoundError(
            f"no reader is called {name!r}",
            cause=f"{scard.SCARD_E_UNKNOWN_READER & 0xFFFFFFFF:08X}",
            next_step=f"Plug it in, or use one of these: {there}." if there else "Plug it in.",
        )

    def _established(self) -> Any:
        if self._context is None:
            code, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
            checked(code)
            self._context = context
        return self._context

    def _forget(self) -> None:
        if self._context is not None:
            scard.SCardReleaseContext(self._context)
            self._context = None

    def _names(self) -> list[str]:
        code, names = scard.SCardListReaders(self._established(), [])
        if code == scard.SCARD_E_NO_READERS_AVAILABLE:
            return []
        checked(code)
        return list(names)

    def _states(self, names: list[str], seconds: float) -> Any:
        if not names:
            return []
        wanted = [(name, scard.SCARD_STATE_UNAWARE) for name in names]
        code, states = scard.SCardGetStatusChange(self._established(), int(seconds * 1000), wanted)
        checked(code)
        return states

    def _is_present(self, name: str) -> bool:
        if name not in self._names():
            return False
        ((_, state, _),) = self._states([name], 0.0)
        return bool(state & scard.SCARD_STATE_PRESENT)


def answered(what: Callable[[Answer], Answer], request: Answer) -> Answer:
    try:
        return what(request)
    except HsmError as error:
        return told(error)


def serve(requests: "queue.Queue[Answer]") -> None:
    pcsc = Pcsc()
    do = {
        "list": pcsc.list_readers,
        "wait": pcsc.wait,
        "open": pcsc.open,
        "transmit": pcsc.transmit,
        "reset": pcsc.reset,
        "close": pcsc.close,
    }
    while True:
        request = requests.get()
        sys.stdout.write(json.dumps(answered(do[request["do"]], request)) + "\n")
        sys.stdout.flush()


def main() -> None:
    requests: queue.Queue[Answer] = queue.Queue()
    threading.Thread(target=serve, args=(requests,), daemon=True).start()
    for line in sys.stdin:
        requests.put(json.loads(line))
    # Whoever asked is gone, so nobody will kill a call that hangs.
    os._exit(0)


if __name__ == "__main__":
    main()
