"""Refused attempts become events, and a flood of them becomes few."""

import asyncio

import pytest

from api import refusals
from api.refusals import ELSEWHERE, Refusals


@pytest.fixture
def written():
    return []


@pytest.fixture
def short_window(monkeypatch):
    monkeypatch.setattr(refusals, "WINDOW", 0.1)


def noted(written, *calls, wait=0.0):
    """Note each (source, times) and return what was written, in order."""
    seen = []

    async def run():
        door = Refusals(lambda *event: written.append(event), lambda: seen.append(1))
        for source, times in calls:
            for _ in range(times):
                door.note(source, "unknown certificate")
        await asyncio.sleep(wait)
        await door.settled()

    asyncio.run(run())
    assert len(seen) == sum(times for _, times in calls)
    return written


def test_the_first_attempt_of_a_source_is_written_at_once(written):
    assert noted(written, ("192.0.2.1", 1)) == [("192.0.2.1", "unknown certificate", 1)]


def test_a_thousand_attempts_of_one_source_are_two_events_that_count_them_all(written):
    events = noted(written, ("192.0.2.1", 1_000))
    assert [count for _, _, count in events] == [1, 999]


@pytest.mark.usefixtures("short_window")
def test_a_source_that_goes_on_is_written_once_a_window(written):
    events = noted(written, ("192.0.2.1", 5), wait=0.35)
    assert [count for _, _, count in events] == [1, 4]


def test_many_sources_at_once_are_told_apart_up_to_a_limit(written):
    calls = [(f"192.0.2.{n}", 1) for n in range(refusals.SOURCES + 40)]
    events = noted(written, *calls)
    assert len(events) == refusals.SOURCES + 2
    assert sum(count for source, _, count in events if source == ELSEWHERE) == 40
    assert sum(count for _, _, count in events) == len(calls)


def test_a_log_that_cannot_be_written_stops_no_connection():
    async def run():
        def write(*_event):
            raise OSError("disk full")

        door = Refusals(write, lambda: None)
        door.note("192.0.2.1", "unknown certificate")
        await door.settled()

    asyncio.run(run())
