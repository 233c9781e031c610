"""Custody: the steps in a key's life that people take and no device does, and holds upon it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from keyvault.domain.canonical import Document
from keyvault.domain.errors import KeyStateError
from keyvault.domain.keys import Key, KeyState, Purpose

DESTRUCTION_CONTEXT = b"keyvault-destruction-v1\n"  # before a statement, when it is signed


class Step(StrEnum):
    """What is recorded of a key beside its states: four of the nine verbs of its custody."""

    LABELLED = "labelled"
    DISTRIBUTED = "distributed"
    INSTALLED = "installed"
    RENEWED = "renewed"


_BEFORE_USE_ENDS = frozenset({KeyState.PRE_ACTIVE, KeyState.ACTIVE})
# In which states a step is taken. A key is renewed while it may be used: the clock says so too.
STEPS_IN: dict[Step, frozenset[KeyState]] = {
    Step.LABELLED: _BEFORE_USE_ENDS | {KeyState.SUSPENDED, KeyState.DEACTIVATED},
    Step.DISTRIBUTED: _BEFORE_USE_ENDS,
    Step.INSTALLED: _BEFORE_USE_ENDS,
    Step.RENEWED: frozenset({KeyState.ACTIVE, KeyState.DEACTIVATED}),
}


@dataclass(frozen=True, slots=True)
class KeyStep:
    """One step of one key, never changed. `number` counts the key's steps from 1.

    `about` is the target of a distribution or installation, or the certificate of a renewal.
    """

    key: UUID
    number: int
    step: Step
    at: datetime
    actor: str
    about: str = ""
    details: Document = field(default_factory=dict)


def check_step(step: Step, key: Key, now: datetime) -> None:
    """Raise `KeyStateError` where the key's state or, for a renewal, the clock forbids the step."""
    if key.state not in STEPS_IN[step]:
        raise KeyStateError(f"a key that is {key.state} is not {step} any more")
    if step is Step.RENEWED:
        key.check_use(Purpose.PROCESS, now)


@dataclass(frozen=True, slots=True)
class DestructionCertificate:
    """What the evidence key signed (DER) once nothing was left of a key: context and statement."""

    key: UUID
    issued_at: datetime
    statement: bytes
    signature: bytes


class HoldKind(StrEnum):
    """Why a key has to be kept although its life is over."""

    SUPPLIER_FAILURE = "supplier-failure"
    DISPUTE = "dispute"
    LEGAL = "legal"


@dataclass(frozen=True, slots=True)
class KeyHold:
    """As long as it is not lifted its key is not destroyed. One person sets it, several lift it."""

    id: UUID
    key: UUID
    kind: HoldKind
    reason: str
    set_at: datetime
    set_by: str
    lifted_at: datetime | None = None
    lifted_by: str = ""  # the request that people approved
