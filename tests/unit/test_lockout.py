"""Who fails too often waits, longer each time, and nobody else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import lockout
from api.lockout import FREE, IDENTITIES, LONGEST, Lockout
from keyvault.domain.errors import LockedOutError


class Clock:
    """Time that a test moves."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def locks():
    return []


@pytest.fixture
def door(clock, locks):
    return Lockout(lambda *lock: locks.append(lock), clock)


def fail(door, times, identity="person:alice"):
    for _ in range(times):
        door.failed(identity)


def wait_of(door, identity="person:alice"):
    with pytest.raises(LockedOutError) as refused:
        door.check(identity)
    return refused.value.retry_after


def test_some_failures_cost_nothing(door, locks):
    fail(door, FREE)
    door.check("person:alice")
    assert locks == []


def test_each_further_failure_costs_twice_the_wait_up_to_a_minute(door, clock, locks):
    fail(door, FREE)
    waits = []
    for _ in range(10):
        fail(door, 1)
        waits.append(wait_of(door))
        clock.now += waits[-1]
        door.check("person:alice")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert [seconds for _, _, seconds in locks] == waits


def test_one_lock_is_told_once_however_many_were_under_way_when_it_fell(door, locks):
    fail(door, FREE + 100)
    assert locks == [("person:alice", FREE + 1, 1.0)]
    assert wait_of(door) == 1


def test_nobody_else_waits(door):
    fail(door, FREE + 1)
    for other in ("person:alice2", "person:Alice", "certificate:alice"):
        door.check(other)


def test_a_success_ends_it(door, clock, locks):
    fail(door, FREE + 1)
    clock.now += 1
    door.succeeded("person:alice")
    fail(door, FREE)
    door.check("person:alice")
    assert len(locks) == 1


def test_a_flood_of_names_takes_bounded_memory_and_frees_nobody_who_is_locked(door):
    fail(door, FREE + 1)
    for number in range(IDENTITIES + 500):
        door.failed(f"person:p{number}")
    assert len(door) == IDENTITIES
    assert wait_of(door) == 1


def test_if_all_are_locked_the_oldest_is_forgotten(door, monkeypatch):
    monkeypatch.setattr(lockout, "IDENTITIES", 20)
    for number in range(21):
        fail(door, FREE + 1, f"person:p{number}")
    door.check("person:p0")
    assert wait_of(door, "person:p1") == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100), st.booleans())))
def test_whatever_happens_everybody_is_heard_again_after_a_minute(steps):
    clock = Clock()
    door = Lockout(lambda *_: None, clock)
    for identity, later, failing in steps:
        clock.now += later
        (door.failed if failing else door.succeeded)(identity)
    clock.now += LONGEST
    for identity in "abc":
        door.check(identity)
