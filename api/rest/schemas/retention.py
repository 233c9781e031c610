"""Holds on events, and certificates of what was purged, on the wire."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field

from api.rest.schemas.common import Bytes, Moment, Text, Wire
from keyvault.domain.custody import HoldKind
from keyvault.domain.retention import LogHold
from keyvault.operations.retention import PurgeCertificate, Said


class LogHoldIn(Wire):
    """What must not be purged: a stream or an actor such as `key:ID`, or `*`; and why."""

    about: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^(\*|[a-z-]+(:[!-~]+)?)$")]
    kind: HoldKind
    reason: Text

    def said(self) -> Said:
        return Said(self.about, self.kind, self.reason)


class LogHoldOut(Wire):
    """A hold that stands. It is lifted by approval: `lift-log-hold`."""

    id: UUID
    about: str
    kind: HoldKind
    reason: str
    set_at: Moment
    set_by: str

    @classmethod
    def of(cls, hold: LogHold) -> Self:
        return cls(**{name: getattr(hold, name) for name in cls.model_fields})


class LogHoldsOut(Wire):
    """All of them, oldest first."""

    items: list[LogHoldOut]

    @classmethod
    def of(cls, holds: list[LogHold]) -> Self:
        return cls(items=[LogHoldOut.of(hold) for hold in holds])


class PurgeCertificateOut(Wire):
    """A statement in canonical JSON, and the evidence key's signature as on a manifest."""

    statement: Bytes
    signature: Bytes

    @classmethod
    def of(cls, made: PurgeCertificate) -> Self:
        return cls(statement=made.statement, signature=made.signature)
