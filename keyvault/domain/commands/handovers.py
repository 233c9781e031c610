"""Keys that people carry in and out, by components or in an envelope. They need approvals."""

import re
from dataclasses import dataclass
from uuid import UUID

from hsm.types import Algorithm, KeyUsage
from keyvault.domain.commands.base import Command
from keyvault.domain.commands.keys import check_key_terms
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import check_id

AES = frozenset({Algorithm.AES_128, Algorithm.AES_192, Algorithm.AES_256})
COMPONENTS = (2, 3)
MAX_MINUTES = 1_440
CHECK_VALUE = re.compile(r"(cmac|ecb):[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class ImportComponents(Command):
    """Make an AES key of components that these people bring, each their own, within a time.

    The first of `custodians` brings component 1. `expected` is the check value of the whole key, as
    `cmac:1a2b3c` or `ecb:1a2b3c`: any other key is refused.
    """

    name = "import-components"
    label: str
    algorithm: Algorithm
    usage: KeyUsage
    key_class: str
    protect_days: int
    process_days: int
    custodians: tuple[str, ...]
    expected: str | None
    minutes: int

    def __post_init__(self) -> None:
        check_key_terms(self)
        if self.algorithm not in AES:
            raise InvalidInputError("only AES keys are put together from components")
        _check_custodians(self.custodians)
        _check_value(self.expected)
        _check_minutes(self.minutes)


@dataclass(frozen=True, slots=True)
class ImportEnvelope(Command):
    """Take in a key that another party wraps for an RSA key made for this (RSA-OAEP, AES-KWP).

    `custodian` brings the envelope. A pair comes with its `public_half` (SPKI in DER).
    """

    name = "import-envelope"
    label: str
    algorithm: Algorithm
    usage: KeyUsage
    key_class: str
    protect_days: int
    process_days: int
    custodian: str
    public_half: bytes | None
    expected: str | None
    minutes: int

    def __post_init__(self) -> None:
        check_key_terms(self)
        if self.algorithm.is_pair != (self.public_half is not None):
            raise InvalidInputError("a pair comes with its public key, and nothing else does")
        if self.expected is not None and self.algorithm not in AES:
            raise InvalidInputError("only AES keys have check values of these styles")
        check_id(self.custodian)
        _check_value(self.expected)
        _check_minutes(self.minutes)

    @property
    def custodians(self) -> tuple[str, ...]:
        return (self.custodian,)


@dataclass(frozen=True, slots=True)
class ExportComponents(Command):
    """Hand out an AES key whose class allows it as components, one to each of these people."""

    name = "export-components"
    key: UUID
    custodians: tuple[str, ...]
    minutes: int
    reason: str

    def __post_init__(self) -> None:
        _check_custodians(self.custodians)
        _check_minutes(self.minutes)


@dataclass(frozen=True, slots=True)
class ExportEnvelope(Command):
    """Wrap a key whose class allows it for the `recipient`, an RSA public key (SPKI in DER)."""

    name = "export-envelope"
    key: UUID
    recipient: bytes
    reason: str


Imported = ImportComponents | ImportEnvelope
Handover = ImportComponents | ImportEnvelope | ExportComponents


def _check_custodians(people: tuple[str, ...]) -> None:
    if len(people) not in COMPONENTS:
        raise InvalidInputError("a key has 2 or 3 components, and each its own custodian")
    for person in people:
        check_id(person)


def _check_value(text: str | None) -> None:
    if text is not None and not CHECK_VALUE.fullmatch(text):
        raise InvalidInputError(
            "a check value is written like cmac:1a2b3c or ecb:1a2b3c",
            next_step="say which style it is: the two differ",
        )


def _check_minutes(minutes: int) -> None:
    if not 0 < minutes <= MAX_MINUTES:
        raise InvalidInputError(f"a handover takes 1 to {MAX_MINUTES} minutes")
