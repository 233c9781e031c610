"""GBCS 4.3.3: the key that two parties share for one message, and what tells it from all others.

No secret is here: these are the public inputs of the derivation, which the gate puts together
with Z. docs/gbcs.md says what each of them was checked against.
"""

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from keyvault.domain.errors import InvalidInputError

ALGORITHM_ID = bytes.fromhex("60857406080300")  # GBCS's identifier of AES-GCM-128
ID_SIZE = 8  # bytes of an EUI-64 and of a counter
COUNTER_LIMIT = 1 << 63  # counters are below: 64 bits, of which a database has 63
MESSAGE_TAG = 12  # bytes of a message's MAC and of an encrypted attribute's tag
_EUI64 = re.compile(r"[0-9A-F]{16}")
_SEPARATORS = str.maketrans("", "", "-: ")


class CellUsage(StrEnum):
    """What a device's credential slot is for; a key serves the slots of one usage."""

    MANAGEMENT = "management"
    TOP_UP = "prePaymentTopUp"


# Bytes of a tag. Of a top-up's MAC the last 4 of all 16 travel in the code.
TAGS = {CellUsage.MANAGEMENT: MESSAGE_TAG, CellUsage.TOP_UP: 16}


class MessageKind(IntEnum):
    """The CRA flag of a grouping header, and 4 where an attribute is encrypted."""

    COMMAND = 1
    RESPONSE = 2
    ALERT = 3
    ENCRYPTION = 4


def eui64(text: str) -> str:
    """Write an EUI-64 as 16 upper-case hex digits. Raises `InvalidInputError`."""
    plain = text.translate(_SEPARATORS).upper()
    if not _EUI64.fullmatch(plain):
        raise InvalidInputError(
            f"{text[:40]!r} is no EUI-64", next_step="write 16 hex digits, as 90B3D51F30010000"
        )
    return plain


@dataclass(frozen=True, slots=True)
class Transaction:
    """Who sends what kind of message to whom, under which number. The ids are EUI-64s."""

    kind: MessageKind
    originator: str
    counter: int
    recipient: str

    def __post_init__(self) -> None:
        if {len(self.originator), len(self.recipient)} != {2 * ID_SIZE}:
            raise InvalidInputError("an EUI-64 has 16 hex digits")
        if not 0 < self.counter < COUNTER_LIMIT:
            raise InvalidInputError("an originator counter is from 1 to 2^63 - 1")

    @property
    def other_info(self) -> bytes:
        """The 33 bytes that the KDF hashes after Z: algorithm, originator, transaction, recipient.

        The transaction is an octet string of 9 bytes with its length: kind, then counter.
        """
        transaction = bytes([1 + ID_SIZE, self.kind]) + self.counter.to_bytes(ID_SIZE)
        sender, receiver = bytes.fromhex(self.originator), bytes.fromhex(self.recipient)
        return ALGORITHM_ID + sender + transaction + receiver

    @property
    def iv(self) -> bytes:
        """12 bytes: no two messages share a key, so the originator and zeros are enough."""
        return bytes.fromhex(self.originator) + bytes(4)
