"""Reconciliations on the wire: the report as it was hashed, and who signed that they saw it."""

from typing import Any, Self
from uuid import UUID

from api.rest.schemas.common import Bytes, Data, Hex64, Moment, Page, Signature, Wire
from keyvault.domain.canonical import parse
from keyvault.domain.reconciliation import Reconciliation, Signed

_LIMIT = 8 << 20  # bytes of a report of ours


class SignedIn(Wire):
    """What the person was shown and signed, byte for byte, and their signature in DER."""

    statement: Data
    signature: Signature


class SignedOut(Wire):
    """One person's signature under a report."""

    person: str
    at: Moment
    statement: Bytes
    signature: Bytes

    @classmethod
    def of(cls, signed: Signed) -> Self:
        return cls(**{name: getattr(signed, name) for name in cls.model_fields})


class ReconciliationLine(Wire):
    """A report in a list. It is in order when nothing was found and somebody signed it."""

    id: UUID
    taken_at: Moment
    taken_by: str
    sha256: Hex64
    findings: int
    signed: list[SignedOut]

    @classmethod
    def of(cls, made: Reconciliation) -> Self:
        names = ("id", "taken_at", "taken_by", "sha256", "findings")
        told = {name: getattr(made, name) for name in names}
        return cls(**told, signed=[SignedOut.of(one) for one in made.signed])


class ReconciliationOut(ReconciliationLine):
    """A report. `sha256` is that of `report` in canonical JSON (RFC 8785)."""

    report: dict[str, Any]

    @classmethod
    def of(cls, made: Reconciliation) -> Self:
        line = ReconciliationLine.of(made)
        told = {name: getattr(line, name) for name in ReconciliationLine.model_fields}
        return cls(**told, report=parse(made.report, max_size=_LIMIT))


class ReconciliationsOut(Page[ReconciliationLine]):
    """Reports, the newest first."""
