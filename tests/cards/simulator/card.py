"""How a card takes APDUs and gives answers in pieces (ISO/IEC 7816-3 and -4), for any applet."""

from typing import Protocol

from tests.cards.simulator.ber import Refused

# T=1, six free historical bytes: an ATR that no program mistakes for some maker's card.
ATR_T1 = bytes.fromhex("3B8680015343504F555409")
ATR_T0 = bytes.fromhex("3B065343504F5554")
OK = b"\x90\x00"
CHAINED = 0x10
GET_RESPONSE = 0xC0


class Application(Protocol):
    def reset(self) -> None: ...

    def execute(self, ins: int, p1: int, p2: int, data: bytes) -> bytes: ...


class Card:
    """`short_only` refuses extended APDUs, as T=0 does anyway."""

    classes = frozenset({0x00})

    def __init__(
        self,
        application: Application,
        *,
        t0: bool = False,
        short_only: bool = False,
        atr: bytes = b"",
    ) -> None:
        self.application = application
        self._t0 = t0
        self._short_only = short_only or t0
        self.atr = atr or (ATR_T0 if t0 else ATR_T1)
        self.log: list[bytes] = []  # every APDU, for tests that count
        self.reset()

    def reset(self) -> None:
        self._chain: tuple[bytes, bytes] | None = None
        self._waiting, self._end = b"", OK
        self._extended = False
        self.application.reset()

    def process(self, apdu: bytes) -> bytes:
        self.log.append(apdu)
        try:
            return self._answer(apdu)
        except Refused as refused:
            return refused.sw.to_bytes(2, "big")

    def _answer(self, apdu: bytes) -> bytes:
        if len(apdu) < 4:
            raise Refused(0x6700)
        cla, ins, p1, p2 = apdu[:4]
        data, le = self._body(apdu[4:])
        if cla & ~CHAINED not in self.classes:
            raise Refused(0x6E00)
        if ins == GET_RESPONSE:
            return self._more(le)
        data = self._chained(apdu[1:4], data)
        if cla & CHAINED:
            self._chain = apdu[1:4], data
            return OK
        self._end = OK
        self._waiting = self._run(cla, ins, p1, p2, data)
        if self._t0 and data and self._waiting:
            le = 0  # case 4 over T=0: all of the answer waits for GET RESPONSE
        return self._piece(le)

    def _run(self, _cla: int, ins: int, p1: int, p2: int, data: bytes) -> bytes:
        return self.application.execute(ins, p1, p2, data)

    def _chained(self, head: bytes, data: bytes) -> bytes:
        if self._chain is None:
            return data
        (begun, before), self._chain = self._chain, None
        if begun != head:
            raise Refused(0x6883)
        return before + data

    def _more(self, le: int) -> bytes:
        if not self._waiting:
            raise Refused(0x6985)
        if self._t0 and le > len(self._waiting):
            raise Refused(0x6C00 | len(self._waiting))
        return self._piece(le)

    def _piece(self, le: int) -> bytes:
        piece, self._waiting = self._waiting[:le], self._waiting[le:]
        left = len(self._waiting)
        return piece + (bytes((0x61, left if left < 256 else 0)) if left else self._end)

    def _body(self, body: bytes) -> tuple[bytes, int]:
        """Data and Le of a short or an extended APDU (ISO/IEC 7816-3, 12.1)."""
        size, top = 1, 256
        self._extended = len(body) > 2 and not body[0]
        if self._extended:
            if self._short_only:
                raise Refused(0x6700)
            size, top, body = 2, 65_536, body[1:]
        if len(body) <= size:
            return b"", (int.from_bytes(body, "big") or top) if body else 0
        lc = int.from_bytes(body[:size], "big")
        data, rest = body[size : size + lc], body[size + lc :]
        if len(data) != lc or len(rest) not in (0, size):
            raise Refused(0x6700)
        return data, (int.from_bytes(rest, "big") or top) if rest else 0
