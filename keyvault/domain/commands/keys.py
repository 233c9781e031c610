"""Acts on keys that need approvals."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from hsm.types import USAGES, Algorithm, KeyUsage
from keyvault.domain.commands.base import Command
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.gbcs import CellUsage

MAX_DAYS = 36_525
MAX_USES = 1_000_000
MAX_HOURS = 31 * 24


@dataclass(frozen=True, slots=True)
class GenerateKey(Command):
    """Make a key in the device. Its id will be the request's id.

    `need` says what for. A key that `supersedes` another takes over from it once it is activated.
    `cell_usage` says which slots of devices a key to agree with serves: management if nothing.
    """

    name = "generate-key"
    label: str
    algorithm: Algorithm
    usage: KeyUsage
    key_class: str
    protect_days: int
    process_days: int
    need: str | None = None
    supersedes: UUID | None = None
    cell_usage: CellUsage | None = None

    def __post_init__(self) -> None:
        check_key_terms(self)
        agrees = (self.algorithm, self.usage) == (Algorithm.EC_P256, KeyUsage.AGREE)
        if self.cell_usage is not None and not agrees:
            raise InvalidInputError("only EC-P256 keys to agree with serve slots of devices")


@dataclass(frozen=True, slots=True)
class ImportKey(Command):
    """Unwrap a key that another party wrapped with AES-KWP under our resident `kek`."""

    name = "import-key"
    label: str
    algorithm: Algorithm
    usage: KeyUsage
    key_class: str
    protect_days: int
    process_days: int
    kek: UUID
    blob: bytes

    def __post_init__(self) -> None:
        check_key_terms(self)


@dataclass(frozen=True, slots=True)
class ExportKey(Command):
    """Wrap `key` with AES-KWP under the resident `kek`; only where the key's class allows it."""

    name = "export-key"
    key: UUID
    kek: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class ActivateKey(Command):
    name = "activate-key"
    key: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class ResumeKey(Command):
    name = "resume-key"
    key: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class DeactivateKey(Command):
    name = "deactivate-key"
    key: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class DestroyKey(Command):
    name = "destroy-key"
    key: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class LiftHold(Command):
    """End a hold, so that the key may be destroyed as far as that is concerned."""

    name = "lift-hold"
    key: UUID
    hold: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class AllowUse(Command):
    """Let a guarded key (see `KeyClass.guarded`) be used so often within some hours."""

    name = "allow-use"
    key: UUID
    uses: int
    hours: int
    reason: str

    def __post_init__(self) -> None:
        if not (0 < self.uses <= MAX_USES and 0 < self.hours <= MAX_HOURS):
            raise InvalidInputError(f"allow 1 to {MAX_USES} uses within 1 to {MAX_HOURS} hours")


class KeyTerms(Protocol):
    """What every command says that brings a key into being."""

    @property
    def algorithm(self) -> Algorithm: ...

    @property
    def usage(self) -> KeyUsage: ...

    @property
    def protect_days(self) -> int: ...

    @property
    def process_days(self) -> int: ...


def check_key_terms(command: KeyTerms) -> None:
    """Raise `InvalidInputError` where a key's use or its periods make no sense."""
    allowed = USAGES[command.algorithm]
    if command.usage not in allowed:
        raise InvalidInputError(
            f"{command.algorithm} keys are not made for {command.usage}",
            next_step=f"use one of: {', '.join(sorted(allowed))}",
        )
    if not 0 < max(command.protect_days, command.process_days) <= MAX_DAYS:
        raise InvalidInputError(f"a key's periods are 1 to {MAX_DAYS} days")
    if not 0 < command.protect_days <= command.process_days:
        raise InvalidInputError("a key must process at least as long as it protects")
