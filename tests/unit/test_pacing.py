"""What the authority takes in a day, and how close the requests of a batch may follow."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.errors import SubmissionLimitError
from keyvault.domain.pacing import Allowance, Pace

NOW = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
RULES = Allowance(150, timedelta(seconds=0.8))
NEW = Pace("ACME", NOW.date())
ONE, OTHER = UUID(int=1), UUID(int=2)


@given(st.lists(st.integers(1, 60), max_size=20))
def test_no_more_go_alone_in_a_day_than_are_allowed(counts) -> None:
    pace, sent = NEW, 0
    for count in counts:
        try:
            pace = pace.with_alone(count, NOW, RULES)
        except SubmissionLimitError:
            assert sent + count > RULES.a_day
        else:
            sent += count
    assert pace.alone_on(NOW) == sent <= RULES.a_day


def test_the_next_day_of_utc_has_an_allowance_of_its_own() -> None:
    full = NEW.with_alone(150, NOW, RULES)
    with pytest.raises(SubmissionLimitError, match="150 went today"):
        full.with_alone(1, NOW + timedelta(seconds=59), RULES)
    assert full.with_alone(1, NOW + timedelta(seconds=60), RULES).alone == 1


def test_a_batch_has_the_way_to_itself_for_as_long_as_its_requests_take() -> None:
    pace = NEW
    for _ in range(250):  # 50,000 requests, 200 in a call
        pace = pace.with_batch(ONE, 200, NOW, RULES)
    assert pace.busy_until == NOW + timedelta(seconds=40_000)
    with pytest.raises(SubmissionLimitError, match="is on its way until 2026-11-23T11:05:40Z"):
        pace.with_batch(OTHER, 1, pace.busy_until - timedelta(seconds=1), RULES)
    assert pace.with_alone(1, NOW, RULES).alone == 1
    after = pace.with_batch(OTHER, 10, pace.busy_until, RULES)
    assert (after.batch, after.busy_until) == (OTHER, pace.busy_until + timedelta(seconds=8))
