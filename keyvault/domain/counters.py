"""The originator counter: a number that rises with every message, and is never given twice."""

from dataclasses import dataclass, replace
from typing import Self

from keyvault.domain.errors import InvalidInputError
from keyvault.domain.gbcs import COUNTER_LIMIT, CellUsage, eui64
from keyvault.domain.scopes import Scope

ISSUE_LIMIT = 1_000  # numbers at once
FLOOR_LIMIT = 1 << 62  # a floor leaves half of all numbers, whatever somebody typed
# A top-up code shows its meter 10 bits of the upper half alone, so the lower half stays zero.
STEPS = {CellUsage.MANAGEMENT: 1, CellUsage.TOP_UP: 1 << 32}


@dataclass(frozen=True, slots=True)
class Series:
    """Whose numbers: an organisation's for all its messages, or for top-ups of one meter."""

    party: str
    originator: str
    cell_usage: CellUsage
    recipient: str = ""

    def __post_init__(self) -> None:
        if bool(self.recipient) != (self.cell_usage is CellUsage.TOP_UP):
            raise InvalidInputError(
                "top-ups are counted for each meter, all other messages for the organisation",
                next_step="name a recipient for prePaymentTopUp, and none for management",
            )

    @classmethod
    def of(cls, scope: Scope, cell_usage: CellUsage, recipient: str = "") -> Self:
        """The series of a scope's organisation. Raises `InvalidInputError`."""
        meter = eui64(recipient) if recipient else ""
        return cls(scope.party, eui64(scope.user_id), cell_usage, meter)

    def __str__(self) -> str:
        """The name under which database, gate and log know it."""
        parts = (self.party, self.originator, self.cell_usage, self.recipient)
        return "/".join(part for part in parts if part)

    @property
    def step(self) -> int:
        return STEPS[self.cell_usage]


@dataclass(frozen=True, slots=True)
class Issued:
    """Numbers that were given away, from `first` to `last`, each `step` above the one before."""

    first: int
    last: int
    step: int

    @property
    def count(self) -> int:
        return (self.last - self.first) // self.step + 1


@dataclass(frozen=True, slots=True)
class Counter:
    """What is remembered of a series: the highest number given, and what is given no more.

    Numbers up to `floor` are neither given nor used, whether they were given before or not.
    """

    series: Series
    issued: int = 0
    floor: int = 0

    def issue(self, count: int) -> tuple["Counter", Issued]:
        """Give the next numbers away. Raises `InvalidInputError`."""
        if not 0 < count <= ISSUE_LIMIT:
            raise InvalidInputError(f"ask for 1 to {ISSUE_LIMIT} counters at once")
        step = self.series.step
        first = (max(self.issued, self.floor) // step + 1) * step
        last = first + (count - 1) * step
        if last >= COUNTER_LIMIT:
            raise InvalidInputError("the counters of this series are used up")
        return replace(self, issued=last), Issued(first, last, step)

    def raised(self, floor: int) -> "Counter":
        """Leave out all numbers up to `floor`. Raises `InvalidInputError` if it does not rise."""
        if not self.floor < floor <= FLOOR_LIMIT:
            raise InvalidInputError(
                f"a floor rises: give one above {self.floor:016X} and up to {FLOOR_LIMIT:016X}"
            )
        return replace(self, floor=floor)

    def behind(self, highest: int) -> bool:
        """Whether more was given than is remembered here, as after a restore."""
        return max(self.issued, self.floor) < highest

    def caught_up(self, highest: int) -> "Counter":
        """The same after a restore: nobody knows which numbers up to here were used."""
        return replace(self, issued=max(self.issued, highest), floor=max(self.floor, highest))

    def usable(self, number: int) -> bool:
        """Whether this number was given and may be used."""
        given = self.floor < number <= self.issued
        return given and number % self.series.step == 0
