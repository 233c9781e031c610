"""Acts on the keys under which others rest wrapped, each of which needs approvals."""

from dataclasses import dataclass

from keyvault.domain.commands.base import Command
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.keys import MAX_KEKS


@dataclass(frozen=True, slots=True)
class RotateKek(Command):
    """Make the service's next wrapping key. Keys are brought under it afterwards, in batches."""

    name = "rotate-kek"
    number: int  # of the new one; the first had 1
    reason: str

    def __post_init__(self) -> None:
        _check(self.number)


@dataclass(frozen=True, slots=True)
class RetireKek(Command):
    """Destroy an older wrapping key, under which nothing rests any more."""

    name = "retire-kek"
    number: int
    reason: str

    def __post_init__(self) -> None:
        _check(self.number)


def _check(number: int) -> None:
    if not 0 < number <= MAX_KEKS:
        raise InvalidInputError(f"wrapping keys have numbers from 1 to {MAX_KEKS}")
