"""Commands and responses of ISO/IEC 7816-4 over whatever carries bytes to a card.

A `Channel` turns one command into the APDUs that it takes (chaining, GET RESPONSE, a corrected
Le) and bounds what the card may do meanwhile: bytes, rounds and seconds.
"""

import time
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Protocol as Contract

from hsm.errors import (
    CardDataError,
    CardMuteError,
    CardObjectMissingError,
    CardRefusedError,
)

SHORT_DATA = 255  # bytes of data in one short command
SHORT_LE = 256
EXTENDED_DATA = 65_535
EXTENDED_LE = 65_536
RESPONSE_LIMIT = 32_768  # bytes of one whole response; PIV's largest object has 12,710
COMMAND_SECONDS = 10.0

CHAINED = 0x10  # in CLA: more of this command follows
GET_RESPONSE = 0xC0


class TransmissionProtocol(IntEnum):
    """How characters or blocks travel (ISO/IEC 7816-3); the number is PC/SC's."""

    T0 = 1
    T1 = 2


class Transport(Contract):
    """What carries one APDU to one card and its answer back."""

    @property
    def protocol(self) -> TransmissionProtocol: ...

    def transmit(self, apdu: bytes, seconds: float) -> bytes:
        """Return the response with its status word, two bytes or more.

        Raises `CardMuteError` after `seconds`, `CardRemovedError`, `PcscUnavailableError`.
        """

    def reset(self) -> None:
        """Reset the card and hold on to it: nothing is selected or verified then."""


@dataclass(frozen=True, slots=True)
class Command:
    """`le` is how many bytes may come back: 0 for none, 256 for whatever there is.

    `data` may hold a PIN, so it is never shown.
    """

    ins: int
    p1: int
    p2: int
    data: bytes = b""
    le: int = 0
    cla: int = 0x00

    def __repr__(self) -> str:
        head = bytes((self.cla, self.ins, self.p1, self.p2)).hex()
        return f"Command({head}, {len(self.data)} bytes of data)"

    def encode(self, protocol: TransmissionProtocol = TransmissionProtocol.T1) -> bytes:
        """Write the APDU: short where it fits, else extended (which T=0 cannot carry)."""
        head = bytes((self.cla, self.ins, self.p1, self.p2))
        if len(self.data) > SHORT_DATA or self.le > SHORT_LE:
            return head + self._extended_body()
        lc = bytes((len(self.data),)) if self.data else b""
        le = bytes((self.le % SHORT_LE,)) if self.le else b""
        if protocol is TransmissionProtocol.T0:
            # ISO/IEC 7816-3, 12.2: P3 is always there, and is never both Lc and Le.
            le = b"" if self.data else le or b"\0"
        return head + lc + self.data + le

    def _extended_body(self) -> bytes:
        size = len(self.data)
        body = b"\0" + size.to_bytes(2, "big") + self.data if size else b""
        le = (self.le % EXTENDED_LE).to_bytes(2, "big") if self.le else b""
        return body + (le if size or not le else b"\0" + le)


@dataclass(frozen=True, slots=True)
class Response:
    data: bytes
    sw: int  # the status word SW1-SW2

    @property
    def ok(self) -> bool:
        return self.sw == StatusWord.SUCCESS

    @property
    def sw1(self) -> int:
        return self.sw >> 8

    @property
    def sw2(self) -> int:
        return self.sw & 0xFF

    def __repr__(self) -> str:
        return f"Response({len(self.data)} bytes, {self.sw:04X})"


class StatusWord(IntEnum):
    """Status words of SP 800-73-4 part 2 and of ISO/IEC 7816-4 that cards answer with."""

    SUCCESS = 0x9000
    MEMORY_FAILURE = 0x6581
    WRONG_LENGTH = 0x6700
    SECURE_MESSAGING_UNSUPPORTED = 0x6882
    CHAINING_UNSUPPORTED = 0x6884
    SECURITY_STATUS_NOT_SATISFIED = 0x6982
    AUTHENTICATION_BLOCKED = 0x6983
    CONDITIONS_NOT_SATISFIED = 0x6985
    INCORRECT_DATA = 0x6A80
    FUNCTION_UNSUPPORTED = 0x6A81
    NOT_FOUND = 0x6A82
    NOT_ENOUGH_MEMORY = 0x6A84
    INCORRECT_P1_P2 = 0x6A86
    REFERENCE_NOT_FOUND = 0x6A88
    INS_UNSUPPORTED = 0x6D00
    CLA_UNSUPPORTED = 0x6E00


SW1_MORE_DATA = 0x61  # SW2 bytes wait for GET RESPONSE
SW1_WRONG_LE = 0x6C  # SW2 is the right Le

NEXT_STEP = {
    StatusWord.SECURITY_STATUS_NOT_SATISFIED: "Verify the PIN, or the management key, first.",
    StatusWord.AUTHENTICATION_BLOCKED: "Have it unblocked with the PUK.",
    StatusWord.NOT_ENOUGH_MEMORY: "The card is full, or this object is too large for it.",
    StatusWord.WRONG_LENGTH: "See whether the card's profile fits: short APDUs, or extended ones.",
}
MISSING = {StatusWord.NOT_FOUND, StatusWord.REFERENCE_NOT_FOUND}


def refusal(response: Response, doing: str) -> CardRefusedError:
    """Name a status word that says no. `doing` completes "the card refused to …"."""
    known = {int(word): word for word in StatusWord}.get(response.sw)
    words = known.name.lower().replace("_", " ") if known else "a word of its own"
    kind = CardObjectMissingError if known in MISSING else CardRefusedError
    return kind(
        f"the card refused to {doing}: {words} ({response.sw:04X})",
        cause=f"{response.sw:04X}",
        next_step=NEXT_STEP.get(known, "") if known else "",
    )


class Carrier(Contract):
    """What carries whole commands to one card."""

    def reset(self) -> None:
        """Have the card forget what was selected and verified."""

    def send(self, command: Command, seconds: float | None = None) -> Response:
        """Carry a command through. The status word is the caller's."""


class Channel:
    """One command at a time to one card. `extended` says that the card takes extended APDUs."""

    def __init__(
        self, transport: Transport, *, extended: bool = False, seconds: float = COMMAND_SECONDS
    ) -> None:
        self._transport = transport
        self._extended = extended and transport.protocol is TransmissionProtocol.T1
        self.seconds = seconds

    def reset(self) -> None:
        """Have the card forget what was selected and verified. Raises what the transport does."""
        self._transport.reset()

    def send(self, command: Command, seconds: float | None = None) -> Response:
        """Carry a command through, within `seconds` altogether. The status word is the caller's.

        Raises `CardDataError` on a response that breaks the rules or is larger than 32 KiB,
        `CardMuteError` after the deadline, and what the transport raises.
        """
        deadline = time.monotonic() + (self.seconds if seconds is None else seconds)
        for part in self._parts(command):
            response = self._once(part, deadline)
            if part.cla & CHAINED and not response.ok:
                return response
        return self._whole(response, deadline)

    def _parts(self, command: Command) -> list[Command]:
        """Split by chaining (ISO/IEC 7816-4, 5.3.3), since not every card takes extended APDUs."""
        size = EXTENDED_DATA if self._extended else SHORT_DATA
        pieces = [command.data[at : at + size] for at in range(0, len(command.data), size)] or [b""]
        *first, last = pieces
        chained = [replace(command, cla=command.cla | CHAINED, data=piece, le=0) for piece in first]
        return [*chained, replace(command, data=last)]

    def _whole(self, response: Response, deadline: float) -> Response:
        """Fetch what waits behind 61xx. Each round brings a byte at least, so it ends."""
        data = bytearray(response.data)
        while response.sw1 == SW1_MORE_DATA:
            more = Command(GET_RESPONSE, 0, 0, le=response.sw2 or SHORT_LE)
            response = self._once(more, deadline)
            data += response.data
            if response.sw1 == SW1_MORE_DATA and not response.data:
                raise CardDataError("the card promises more data and gives none")
            if len(data) > RESPONSE_LIMIT:
                raise CardDataError(f"a response of more than {RESPONSE_LIMIT} bytes")
        return Response(bytes(data), response.sw)

    def _once(self, command: Command, deadline: float) -> Response:
        """One APDU, and once more if the card only wants another Le."""
        response = self._transmit(command, deadline)
        if response.sw1 == SW1_WRONG_LE:
            response = self._transmit(replace(command, le=response.sw2 or SHORT_LE), deadline)
        if response.sw1 == SW1_WRONG_LE:
            raise CardDataError("the card keeps correcting the expected length")
        return response

    def _transmit(self, command: Command, deadline: float) -> Response:
        left = deadline - time.monotonic()
        if left <= 0:
            raise CardMuteError(
                "the card did not finish a command in time",
                next_step="Take the card out, put it in again, and repeat.",
            )
        answer = self._transport.transmit(command.encode(self._transport.protocol), left)
        if len(answer) > command.le + 2:
            raise CardDataError(f"{len(answer) - 2} bytes came where {command.le} were asked for")
        return Response(answer[:-2], int.from_bytes(answer[-2:], "big"))
