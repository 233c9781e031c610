"""Custody on the wire: steps in a key's life, holds, and what depends on a key."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field

from api.rest.schemas.common import ABSENT, Bytes, Id, Moment, Page, Text, Wire
from keyvault.domain.certificates import Certificate, CertificateState
from keyvault.domain.custody import DestructionCertificate, HoldKind, KeyHold, KeyStep, Step
from keyvault.operations.custody import Taken
from keyvault.operations.dependants import Dependants


class _StepIn(Wire):
    def read(self) -> Taken:
        told = self.model_dump(mode="json", exclude={"step"}, exclude_unset=True)
        return Taken(Step(self.step), self._about(), told)  # type: ignore[attr-defined]  # all have it

    def _about(self) -> str:
        return ""


class LabelledIn(_StepIn):
    """What the label says, and where it was put."""

    step: Literal["labelled"]
    text: Text
    place: Text = ABSENT
    reference: Text = ABSENT


class _TargetIn(_StepIn):
    target: Text
    reference: Text = ABSENT

    def _about(self) -> str:
        return self.target


class DistributedIn(_TargetIn):
    """Where the key, or what stands for it, was sent, and by which way."""

    step: Literal["distributed"]
    channel: Text


class InstalledIn(_TargetIn):
    """Where it is installed; it was distributed there before."""

    step: Literal["installed"]


class RenewedIn(_StepIn):
    """The accepted certificate that renews the same key."""

    step: Literal["renewed"]
    certificate: Id
    reason: Text

    def _about(self) -> str:
        return str(self.certificate)


StepIn = Annotated[
    LabelledIn | DistributedIn | InstalledIn | RenewedIn, Field(discriminator="step")
]


class StepOut(Wire):
    """A step that was taken; `number` counts those of its key from 1."""

    key: UUID
    number: int
    step: Step
    at: Moment
    actor: str
    details: dict[str, Any]

    @classmethod
    def of(cls, step: KeyStep) -> Self:
        return cls(**{name: getattr(step, name) for name in cls.model_fields})


class StepsOut(Page[StepOut]):
    """Steps of one key, oldest first."""


class DestructionOut(Wire):
    """A certificate of destruction: what was signed, byte for byte, and the signature in DER."""

    key: UUID
    issued_at: Moment
    statement: Bytes
    signature: Bytes

    @classmethod
    def of(cls, made: DestructionCertificate) -> Self:
        return cls(**{name: getattr(made, name) for name in cls.model_fields})


class HoldIn(Wire):
    """Why a key has to be kept."""

    kind: HoldKind
    reason: Text


class HoldOut(Wire):
    """A hold. Once lifted it names the request that people approved."""

    id: UUID
    key: UUID
    kind: HoldKind
    reason: str
    set_at: Moment
    set_by: str
    lifted_at: Moment | None
    lifted_by: str

    @classmethod
    def of(cls, hold: KeyHold) -> Self:
        return cls(**{name: getattr(hold, name) for name in cls.model_fields})


class CertificateRef(Wire):
    """A certificate that would be left without its key."""

    id: UUID
    state: CertificateState
    subject: str
    serial: str
    not_after: Moment | None

    @classmethod
    def of(cls, one: Certificate) -> Self:
        return cls(**{name: getattr(one, name) for name in cls.model_fields})


class DependantsOut(Wire):
    """What would miss a key. It is destroyed only once `reasons` is empty."""

    holds: list[HoldOut]
    certificates: list[CertificateRef]
    wrapped: list[UUID]
    wrapped_count: int
    successor: UUID | None
    systems: list[str]
    reasons: list[str]

    @classmethod
    def of(cls, found: Dependants) -> Self:
        return cls(
            holds=[HoldOut.of(one) for one in found.holds],
            certificates=[CertificateRef.of(one) for one in found.certificates],
            wrapped=list(found.wrapped),
            wrapped_count=found.wrapped_count,
            successor=found.successor,
            systems=list(found.systems),
            reasons=found.reasons(),
        )
