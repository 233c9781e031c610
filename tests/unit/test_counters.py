"""Originator counters: what is given rises, whatever comes in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.counters import FLOOR_LIMIT, Counter, Series
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.gbcs import COUNTER_LIMIT, CellUsage
from keyvault.domain.scopes import Scope

SCOPE = Scope("ACME", "IS", "90-B3-D5-1F-30-01-00-00")
MESSAGES = Series.of(SCOPE, CellUsage.MANAGEMENT)
TOP_UPS = Series.of(SCOPE, CellUsage.TOP_UP, "00db1234567890a0")
STEPS = st.one_of(
    st.tuples(st.just("issue"), st.integers(1, 1000)),
    st.tuples(st.just("raise"), st.integers(1, 1 << 50)),
    st.tuples(st.just("restore"), st.integers(0, 3)),
)


@given(st.lists(STEPS, max_size=30), st.sampled_from([MESSAGES, TOP_UPS]))
def test_no_number_is_given_twice_not_even_after_a_restore(steps, series):
    history = [Counter(series)]
    highest, used = 0, set()
    for what, number in steps:
        counter = history[-1]
        if what == "issue":
            if counter.behind(highest):
                counter = counter.caught_up(highest)
            counter, issued = counter.issue(number)
            assert issued.count == number
            numbers = range(issued.first, issued.last + 1, issued.step)
            assert min(numbers) > highest
            assert not used.intersection(numbers)
            assert all(counter.usable(each) for each in numbers)
            used.update(numbers)
            highest = issued.last
        elif what == "raise" and number > counter.floor:
            counter = counter.raised(number)
            highest = max(highest, number)  # the gate is told
        elif what == "restore":
            history = history[: number + 1]
            continue
        history.append(counter)


def test_a_series_has_one_name_for_the_organisation_and_one_for_each_meter():
    assert str(MESSAGES) == "ACME/90B3D51F30010000/management"
    assert str(TOP_UPS) == "ACME/90B3D51F30010000/prePaymentTopUp/00DB1234567890A0"
    with pytest.raises(InvalidInputError):
        Series.of(SCOPE, CellUsage.TOP_UP)
    with pytest.raises(InvalidInputError):
        Series.of(SCOPE, CellUsage.MANAGEMENT, "00DB1234567890A0")
    with pytest.raises(InvalidInputError):
        Series.of(Scope("ACME", "IS", "no-eui"), CellUsage.MANAGEMENT)


def test_top_ups_count_in_the_half_that_a_meter_sees():
    counter, issued = Counter(TOP_UPS).issue(2)
    assert (issued.first, issued.last) == (1 << 32, 2 << 32)
    assert not counter.usable((1 << 32) + 1)


def test_what_was_not_given_is_not_usable():
    counter, issued = Counter(MESSAGES).issue(3)
    assert not any(counter.usable(number) for number in (0, issued.last + 1, -1))
    assert not any(counter.raised(2).usable(number) for number in (1, 2))
    assert counter.raised(2).usable(3)


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_nobody_is_given_none_or_too_many(count):
    with pytest.raises(InvalidInputError):
        Counter(MESSAGES).issue(count)


def test_a_floor_only_rises_and_leaves_half_of_all_numbers():
    counter = Counter(MESSAGES).raised(10)
    for floor in (10, 9, 0, -1, FLOOR_LIMIT + 1):
        with pytest.raises(InvalidInputError):
            counter.raised(floor)


def test_the_last_number_is_the_last():
    counter = Counter(MESSAGES, issued=COUNTER_LIMIT - 3)
    counter, issued = counter.issue(2)
    assert issued.last == COUNTER_LIMIT - 1
    with pytest.raises(InvalidInputError, match="used up"):
        counter.issue(1)
