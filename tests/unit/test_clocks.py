"""What is thought of a clock, and when it is told."""

from shutil import copyfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.audit import EventType
from keyvault.domain.clocks import ClockState, Reading, beyond_ms, judged
from keyvault.stamper import Watch, look
from keyvault.store import Database

BEFORE = Reading(1_000_000, 5_000, kept=True)


@pytest.mark.parametrize(
    ("now", "beyond", "state"),
    [
        (Reading(1_015_000, 20_000, kept=True), 0, ClockState.SYNCHRONISED),
        (Reading(1_015_000, 20_000, kept=None), 1_999, ClockState.SYNCHRONISED),
        (Reading(1_015_000, 20_000, kept=False), 0, ClockState.UNSYNCHRONISED),
        (Reading(1_018_000, 20_000, kept=True), 0, ClockState.STEPPED),
        (Reading(1_011_000, 20_000, kept=False), 9_000, ClockState.STEPPED),
        (Reading(1_015_000, 20_000, kept=False), -2_001, ClockState.SKEWED),
    ],
)
def test_the_worst_that_is_known_of_a_clock_is_said(now, beyond, state):
    assert judged(BEFORE, now, beyond, 2_000)[0] is state


@given(st.integers(0, 10**9), st.integers(0, 10**4), st.integers(-(10**6), 10**6))
def test_an_authority_is_beyond_by_what_its_time_lies_outside_of_the_call(asked, took, off):
    stamped, answered = asked + off, asked + took
    beyond = beyond_ms(stamped, asked, answered, 0)
    assert (beyond == 0) == (asked - 1_000 <= stamped <= answered)
    assert (beyond > 0) == (stamped > answered)


def test_a_change_of_the_clock_is_told_once_and_once_that_it_is_over(tmp_path, sqlite_template):
    copyfile(sqlite_template, tmp_path / "log.db")
    database = Database(f"sqlite:///{tmp_path / 'log.db'}", "node-1")
    looks = iter(
        Reading(at * 1_000, at * 1_000, kept=kept)
        for at, kept in enumerate([True, False, False, True, True])
    )
    watch = Watch(database, "node-1", 2.0, lambda: next(looks))
    states = [watch.turn() for _ in range(5)]
    assert states.count(ClockState.UNSYNCHRONISED) == 2
    with database.reading() as reading:
        events, _ = reading.audit.page(stream="clock:node-1")
    database.close()
    kinds = [event.header["ty"] for event in events]
    assert kinds == [EventType.TIME_UNTRUSTED, EventType.TIME_TRUSTED]


def test_this_hosts_clocks_can_be_read():
    one, other = look(), look()
    assert other.monotonic_ms >= one.monotonic_ms
    assert one.kept in (True, False, None)
