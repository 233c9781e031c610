"""Counters in both databases: who asks at once gets other numbers than everybody else."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from keyvault.domain.counters import Series
from keyvault.domain.gbcs import CellUsage
from keyvault.domain.scopes import Scope
from keyvault.store import Database
from tests.store.events import used

SCOPE = Scope("ACME", "IS", "90-B3-D5-1F-30-01-00-00")
MESSAGES = Series.of(SCOPE, CellUsage.MANAGEMENT)
TOP_UPS = Series.of(SCOPE, CellUsage.TOP_UP, "00DB1234567890A0")
NOW = datetime(2026, 11, 22, 15, tzinfo=UTC)


def issue(database: Database, series: Series, count: int) -> range:
    with database.work() as work:
        counter, issued = work.counters.lock(series, NOW).issue(count)
        work.counters.put(counter)
        work.commit(used())
    return range(issued.first, issued.last + 1, issued.step)


@pytest.mark.parametrize("series", [MESSAGES, TOP_UPS], ids=["messages", "top-ups"])
def test_thirty_two_callers_at_once_get_each_number_once(database_url: str, series: Series):
    databases = [Database(database_url, node=f"node-{at}") for at in range(4)]
    with ThreadPoolExecutor(32) as pool:
        calls = [pool.submit(issue, databases[at % 4], series, 1 + at % 3) for at in range(96)]
        numbers = sorted(number for call in calls for number in call.result())
    assert numbers == [series.step * (at + 1) for at in range(len(numbers))]
    with databases[0].reading() as reading:
        assert reading.counters.get(series).issued == numbers[-1]
    for each in databases:
        each.close()


def test_numbers_of_a_transaction_that_did_not_commit_are_given_to_others(database: Database):
    with database.work() as work:
        counter, _ = work.counters.lock(MESSAGES, NOW).issue(5)
        work.counters.put(counter)
    assert issue(database, MESSAGES, 1) == range(1, 2)


def test_a_series_that_nobody_used_is_at_its_beginning(database: Database):
    with database.reading() as reading:
        counter = reading.counters.get(MESSAGES)
        assert (counter.issued, counter.floor) == (0, 0)
        assert reading.counters.page(parties=None, after=None, limit=5) == ([], None)


def test_series_are_listed_by_party_and_in_pages(database: Database):
    others = [Series("OTHER", "90B3D51F30020000", CellUsage.MANAGEMENT), MESSAGES, TOP_UPS]
    for series in others:
        issue(database, series, 1)
    with database.reading() as reading:
        first, cursor = reading.counters.page(parties={"ACME"}, after=None, limit=1)
        rest, end = reading.counters.page(parties={"ACME"}, after=cursor, limit=5)
        assert {str(c.series) for c in first + rest} == {str(MESSAGES), str(TOP_UPS)}
        assert end is None
        assert len(reading.counters.page(parties=None, after=None, limit=5)[0]) == 3
