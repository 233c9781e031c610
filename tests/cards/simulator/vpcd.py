"""A card in the virtual reader: the client side of vpcd's protocol.

Each message is a length of two bytes and a body. One byte is control (power off, power on,
reset, give the ATR), more is an APDU. Connecting is insertion, closing is removal.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Protocol

POWER_OFF, POWER_ON, RESET, GIVE_ATR = 0, 1, 2, 4
STOP_SECONDS = 5.0


class Pulled(Exception):  # noqa: N818  (what a card's fault raises to be taken out)
    """The card leaves the reader now."""


class CardSide(Protocol):
    atr: bytes

    def reset(self) -> None: ...

    def process(self, apdu: bytes) -> bytes | None:
        """None is silence: the reader waits on."""


class VirtualCard:
    """`card` may be changed while it is inserted: the next session finds another one."""

    def __init__(self, card: CardSide, connect: Callable[[], socket.socket]) -> None:
        self.card = card
        self._connect = connect
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self.resets = 0

    def insert(self) -> None:
        self._socket = self._connect()
        self._thread = threading.Thread(target=self._serve, args=(self._socket,), daemon=True)
        self._thread.start()

    def remove(self) -> None:
        """Safe to call twice, and after the card has pulled itself out."""
        if self._socket is not None and self._thread is not None:
            with contextlib.suppress(OSError):  # the other side may have been first
                self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join(STOP_SECONDS)
            self._socket = self._thread = None

    def _serve(self, reader: socket.socket) -> None:
        with reader, contextlib.suppress(Pulled, OSError):
            while True:
                (size,) = struct.unpack("!H", _exactly(reader, 2))
                answer = self._answer(_exactly(reader, size))
                if answer is not None:
                    reader.sendall(struct.pack("!H", len(answer)) + answer)

    def _answer(self, body: bytes) -> bytes | None:
        if len(body) > 1:
            return self.card.process(body)
        if body[0] == GIVE_ATR:
            return self.card.atr
        self.resets += body[0] != POWER_OFF
        self.card.reset()
        return None


def _exactly(reader: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        # vpcd writes in two packets: without this each APDU waits 40 ms for a delayed ACK.
        reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        piece = reader.recv(size - len(data))
        if not piece:
            raise Pulled
        data += piece
    return data
