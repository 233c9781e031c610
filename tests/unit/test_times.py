"""Times in documents: one spelling, in UTC, to the second."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.errors import InvalidInputError
from keyvault.domain.times import (
    LAST_YEAR,
    day_after,
    day_of,
    day_text,
    milliseconds,
    text_of,
    time_of,
)

BOUNDS = (datetime(1970, 1, 1), datetime(LAST_YEAR, 12, 31))  # noqa: DTZ001 (hypothesis wants naive bounds)


@given(st.datetimes(*BOUNDS, timezones=st.just(UTC)))
def test_a_time_is_cut_to_the_second_and_reads_back(moment):
    assert time_of(text_of(moment)) == moment.replace(microsecond=0)


def test_a_time_of_another_zone_is_written_in_utc():
    summer = timezone(timedelta(hours=1))
    assert text_of(datetime(2026, 7, 1, 0, 30, tzinfo=summer)) == "2026-06-30T23:30:00Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        1,
        "2026-03-01",
        "2026-3-1T12:00:00Z",
        "2026-03-01T12:00:00",
        "2026-03-01T12:00:00+00:00",
        "2026-03-01T12:00:00.5Z",
        "2026-03-01t12:00:00z",
        "2026-02-29T12:00:00Z",
        " 2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00Z\n",
        "٢٠٢٦-03-01T12:00:00Z",
    ],
)
def test_every_other_spelling_is_refused(text):
    with pytest.raises(InvalidInputError, match="is not a time like"):
        time_of(text)


def test_events_count_milliseconds_since_1970():
    assert milliseconds(datetime(1970, 1, 1, 0, 0, 1, 999, tzinfo=UTC)) == 1000


@given(st.datetimes(*BOUNDS, timezones=st.just(UTC)))
def test_a_day_reads_back_and_is_over_when_the_next_one_begins(moment):
    day = day_text(moment)
    assert day_of(day) <= moment < day_after(day)
    assert day_text(day_after(day) - timedelta(seconds=1)) == day


@pytest.mark.parametrize("read", [time_of, day_of, day_after])
def test_what_cannot_be_counted_from_is_no_time(read):
    for far in (f"{LAST_YEAR + 1}-01-01", "9999-12-31", "9999-12-31T23:59:59Z", "10000-01-01"):
        with pytest.raises(InvalidInputError):
            read(far)
