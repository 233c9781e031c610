"""Handovers on the wire: what the gate says, what custodians sign, and what they are handed."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from api.rest.schemas.common import (
    WHOLE,
    Blob,
    Bytes,
    Hex64,
    Id,
    InstantText,
    Moment,
    Name,
    Page,
    ScopeOut,
    Signature,
    Text,
    Wire,
)
from keyvault.domain.canonical import Document
from keyvault.domain.handovers import BAG_LIMIT, Handover, HandoverState, Part
from keyvault.operations.handovers import Handed

Number = Annotated[int, Field(ge=1, le=3), WHOLE]
HexCheck = Annotated[str, StringConstraints(pattern="^([0-9a-f]{6})?$")]
Bag = Annotated[Text, Field(max_length=BAG_LIMIT)]


class CheckValuesWire(Wire):
    """Check values by their styles, empty where there are none."""

    cmac: HexCheck
    ecb: HexCheck


class DeliveryWire(Wire):
    """What a custodian has signed; docs/formats.md says which bytes."""

    origin: Text
    request: Id
    statement: Hex64
    number: Number
    person: Name
    credential: Hex64
    session: Hex64
    content: Blob
    check_values: CheckValuesWire
    at: InstantText


class DeliveryIn(Wire):
    """A delivery and its signature (ECDSA P-256 with SHA-256, in DER)."""

    delivery: DeliveryWire
    signature: Signature

    def read(self) -> Document:
        return self.delivery.model_dump(mode="json")


class BagIn(Wire):
    """The number of a tamper-evident bag, and whether it is sealed now or came back."""

    number: Number
    bag: Bag
    step: Literal["sealed", "returned"]


class PartOut(Wire):
    """What one custodian handed over or was handed. Never a component."""

    number: int
    person: str
    at: Moment
    check_values: CheckValuesWire
    bag: str | None
    returned_at: Moment | None

    @classmethod
    def of(cls, part: Part) -> Self:
        names = ("number", "person", "at", "bag", "returned_at")
        check = CheckValuesWire(cmac=part.check.cmac, ecb=part.check.ecb)
        return cls(check_values=check, **{name: getattr(part, name) for name in names})


class HandoverOut(Wire):
    """A handover: `statement` is what the gate signed when it opened it, `transcript` at its end.

    Both signatures are by the evidence key of the genesis.
    """

    id: UUID
    command: str
    scope: ScopeOut
    state: HandoverState
    opened_at: Moment
    until: Moment
    statement: Bytes
    signature: Bytes
    parts: list[PartOut]
    transcript: Bytes | None
    transcript_signature: Bytes | None

    @classmethod
    def of(cls, found: Handover) -> Self:
        own = {name: getattr(found, name) for name in cls.model_fields if hasattr(found, name)}
        parts = [PartOut.of(part) for part in found.parts]
        return cls(**{**own, "scope": ScopeOut.of(found.scope), "parts": parts})


class HandoversOut(Page[HandoverOut]):
    """Handovers, newest first, without their parts."""


class HandedOut(Wire):
    """The handover as it is now, how many parts are missing, and the part that goes out, sealed."""

    handover: HandoverOut
    missing: int
    sealed: Bytes

    @classmethod
    def of(cls, handed: Handed) -> Self:
        return cls(
            handover=HandoverOut.of(handed.handover),
            missing=handed.missing,
            sealed=handed.sealed,
        )
