"""Token buckets: how often one certificate may call, and all systems of one scope together."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import rates
from api.rates import Buckets, Rates
from keyvault.domain.errors import RateLimitedError
from keyvault.settings import Rate, RateSettings
from tests.unit.test_access import person, system

MACHINE = system("key:sign")
WIDE = Rate(per_second=1_000_000, burst=1_000_000)


def limits(certificate=WIDE, scope=WIDE):
    told = []
    return Rates(
        RateSettings(certificate=certificate, scope=scope), lambda *t: told.append(t)
    ), told


def test_a_burst_is_taken_and_then_one_as_each_token_comes():
    door, told = limits(Rate(per_second=10, burst=3))
    for _ in range(3):
        door.call("pem", "192.0.2.1", 100.0)
    with pytest.raises(RateLimitedError) as refused:
        door.call("pem", "192.0.2.1", 100.0)
    assert refused.value.retry_after == 1
    assert told == [("192.0.2.1", "more calls than one client may make")]
    door.call("pem", "192.0.2.1", 100.1)
    with pytest.raises(RateLimitedError):
        door.call("pem", "192.0.2.1", 100.15)


def test_one_certificate_s_calls_cost_no_other_a_token():
    door, _ = limits(Rate(per_second=1, burst=1))
    door.call("one", "192.0.2.1", 0.0)
    door.call("other", "192.0.2.1", 0.0)
    door.call(None, "192.0.2.1", 0.0)
    door.call(None, "192.0.2.2", 0.0)
    with pytest.raises(RateLimitedError):
        door.call("one", "192.0.2.9", 0.0)


def test_systems_of_a_scope_share_its_tokens_and_people_have_none():
    door, told = limits(scope=Rate(per_second=1, burst=2))
    door.scope(MACHINE, 0.0)
    door.scope(MACHINE, 0.0)
    with pytest.raises(RateLimitedError):
        door.scope(MACHINE, 0.0)
    assert told == [(MACHINE.actor, "more calls than one scope may make")]
    for _ in range(9):
        door.scope(person(), 0.0)


def test_retry_after_is_as_long_as_it_takes():
    door, _ = limits(Rate(per_second=0.1, burst=1))
    door.call("pem", "", 0.0)
    with pytest.raises(RateLimitedError) as refused:
        door.call("pem", "", 2.0)
    assert refused.value.retry_after == 8
    door.call("pem", "", 10.0)


def test_memory_is_bounded_and_who_called_last_is_kept(monkeypatch):
    monkeypatch.setattr(rates, "REMEMBERED", 100)
    buckets = Buckets(Rate(per_second=0.001, burst=1))
    for number in range(1_000):
        assert buckets.wait(number, 0.0) == 0
    assert len(buckets) <= 100
    assert buckets.wait(999, 0.0) > 0


@given(
    st.floats(0.5, 1_000),
    st.integers(1, 50),
    st.lists(st.floats(0, 0.5), min_size=1, max_size=200),
)
def test_in_any_stretch_no_more_pass_than_burst_and_rate_allow(per_second, burst, pauses):
    door, _ = limits(Rate(per_second=per_second, burst=burst))
    now, passed = 50_000.0, []
    for pause in pauses:
        now += pause
        try:
            door.call("pem", "", now)
        except RateLimitedError:
            continue
        passed.append(now)
    for at, began in enumerate(passed):
        for upto, ended in enumerate(passed[at:], at):
            assert upto - at + 1 <= burst + math.ceil((ended - began) * per_second + 1e-3)
