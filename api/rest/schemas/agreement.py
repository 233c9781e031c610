"""Keys for messages and originator counters on the wire."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from api.rest.schemas.common import (
    DATA_LIMIT,
    WHOLE,
    Blob,
    Data,
    EventRef,
    Item,
    Page,
    ScopeIn,
    Signature,
    Text,
    Wire,
    base64_schema,
)
from keyvault.domain.counters import ISSUE_LIMIT, Counter
from keyvault.domain.gbcs import CellUsage, MessageKind
from keyvault.operations.agreement import Incoming, Outgoing
from keyvault.operations.counters import Reserved, text

Eui64 = Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{16}$")]
Number = Annotated[
    str,
    StringConstraints(pattern=r"^[0-7][0-9A-F]{15}$"),
    Field(description="An originator counter: 8 bytes in hex", examples=["0000000100000000"]),
]
Peer = Annotated[Blob, Field(description="P-256 key of the peer: SubjectPublicKeyInfo in DER")]
SeriesCursor = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}\.[A-Za-z0-9._/-]{1,150}$")]


class OutgoingIn(Wire):
    """To whom, and under which reserved counter; each counter serves one message."""

    peer: Peer
    recipient: Eui64
    counter: Number

    def _to(self, cell_usage: CellUsage) -> Outgoing:
        return Outgoing(self.peer, self.recipient, int(self.counter, 16), cell_usage)


class IncomingIn(Wire):
    """From which device, and under which counter."""

    peer: Peer
    originator: Eui64
    counter: Number

    def _by(self, kind: MessageKind) -> Incoming:
        return Incoming(self.peer, self.originator, int(self.counter, 16), kind)


class AgreedMacIn(OutgoingIn):
    """`data` is all that GBCS has authenticated: security header, message, signature."""

    data: Data
    cell_usage: CellUsage = CellUsage.MANAGEMENT

    def to(self) -> Outgoing:
        return self._to(self.cell_usage)


class AgreedMacOut(Wire):
    """12 bytes; for prePaymentTopUp all 16, of which the last 4 go into the code."""

    mac: Annotated[str, base64_schema(12, 16)]
    event: EventRef


class AgreedMacCheckIn(IncomingIn):
    kind: Literal["response", "alert"] = "response"
    data: Data
    mac: Annotated[Signature, Field(description="12 bytes")]

    def by(self) -> Incoming:
        return self._by(MessageKind[self.kind.upper()])


class AgreedMacCheckOut(Wire):
    valid: bool


class AgreedEncryptIn(OutgoingIn):
    plaintext: Data
    aad: Data = b"\x31"

    def to(self) -> Outgoing:
        return self._to(CellUsage.MANAGEMENT)


class AgreedEncryptOut(Wire):
    """The ciphertext, then the tag of 12 bytes."""

    ciphertext: Annotated[str, base64_schema(12, DATA_LIMIT + 64)]
    event: EventRef


class AgreedDecryptIn(IncomingIn):
    ciphertext: Annotated[Item, Field(description="With its tag of 12 bytes")]
    aad: Data = b"\x31"

    def by(self) -> Incoming:
        return self._by(MessageKind.ENCRYPTION)


class AgreedDecryptOut(Wire):
    plaintext: Annotated[str, base64_schema(0, DATA_LIMIT)]
    event: EventRef


class ReservationIn(Wire):
    """How many counters; top-ups are counted for each meter, so they name one."""

    cell_usage: CellUsage = CellUsage.MANAGEMENT
    recipient: Eui64 | None = None
    count: Annotated[int, Field(ge=1, le=ISSUE_LIMIT), WHOLE] = 1


class ReservationOut(Wire):
    """From `first` to `last`, each `step` above the one before; nobody else has these."""

    series: str
    first: Number
    last: Number
    step: Number
    count: int
    event: EventRef

    @classmethod
    def of(cls, reserved: Reserved) -> "ReservationOut":
        issued = reserved.issued
        return cls(
            series=str(reserved.series),
            first=text(issued.first),
            last=text(issued.last),
            step=text(issued.step),
            count=issued.count,
            event=EventRef(index=reserved.index, leaf_hash=reserved.leaf_hash.hex()),
        )


class FloorIn(Wire):
    """Leave out every counter up to `floor`."""

    scope: ScopeIn
    cell_usage: CellUsage = CellUsage.MANAGEMENT
    recipient: Eui64 | None = None
    floor: Number
    reason: Text


class CounterOut(Wire):
    """The highest counter that was given, and up to where none is given or used any more."""

    series: str
    party: str
    originator: Eui64
    cell_usage: CellUsage
    recipient: Eui64 | None
    issued: Number
    floor: Number

    @classmethod
    def of(cls, counter: Counter) -> "CounterOut":
        series = counter.series
        return cls(
            series=str(series),
            party=series.party,
            originator=series.originator,
            cell_usage=series.cell_usage,
            recipient=series.recipient or None,
            issued=text(counter.issued),
            floor=text(counter.floor),
        )


CountersOut = Page[CounterOut]
