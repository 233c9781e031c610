"""How fast certification requests may go to the authority.

So many a day that are sent alone, and those of a batch one after another, with a gap between. Each
party has its own allowance. The authority's rules say how large it is; settings hold the numbers.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from keyvault.domain.errors import SubmissionLimitError
from keyvault.domain.times import text_of


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a party may send: `a_day` alone in a day of UTC, a `gap` between those of a batch."""

    a_day: int
    gap: timedelta


@dataclass(frozen=True, slots=True)
class Pace:
    """What a party has sent: alone on one day, and until when its newest batch is on its way."""

    party: str
    day: date
    alone: int = 0
    batch: UUID | None = None
    busy_until: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def alone_on(self, now: datetime) -> int:
        """How many it has sent alone on the day of this moment."""
        return self.alone if self.day == now.date() else 0

    def with_alone(self, count: int, now: datetime, allowance: Allowance) -> "Pace":
        """Count requests that are sent alone. Raises `SubmissionLimitError`."""
        sent = self.alone_on(now)
        if sent + count > allowance.a_day:
            raise SubmissionLimitError(
                f"{self.party} may send {allowance.a_day} requests a day that are in no batch;"
                f" {sent} went today, and these are {count}",
                next_step="send them as a batch, or from 00:00 UTC on",
            )
        return replace(self, day=now.date(), alone=sent + count)

    def with_batch(self, batch: UUID, count: int, now: datetime, allowance: Allowance) -> "Pace":
        """Count requests of a batch. Raises `SubmissionLimitError` while another is on its way."""
        if batch != self.batch and now < self.busy_until:
            raise SubmissionLimitError(
                f"batch {self.batch} of {self.party} is on its way until"
                f" {text_of(self.busy_until)}, one request in {allowance.gap.total_seconds()} s",
                next_step="send this one after it",
            )
        busy_until = max(now, self.busy_until) + count * allowance.gap
        return replace(self, batch=batch, busy_until=busy_until)
