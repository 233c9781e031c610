"""The log: contiguous, gapless, one root, whoever writes and however many at once."""

import random
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest

from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.canonical import CanonicalError
from keyvault.domain.errors import InvalidInputError, LogUnavailableError, NotFoundError
from keyvault.domain.tree import inclusion_proof, verify_inclusion
from keyvault.store import Database, Memory
from keyvault.store.audit import Audit
from keyvault.store.engine import driver_of, open_engine, reading
from tests.store.events import SCOPE, check_log, used

WRITER = """
import sys
from keyvault.store import Database, Memory
from tests.store.events import used
database, memory = Database(sys.argv[1], node=sys.argv[2]), Memory()
for number in range(40):
    with database.work(memory if number % 2 else None) as work:
        work.commit(used(f"key:{number % 3}"), used("request:1", actor=sys.argv[2]))
database.close()
"""


def test_a_receipt_says_where_the_event_stands(database: Database) -> None:
    with database.work() as work:
        first, second = work.commit(used("key:1"), used("key:2"))
    assert (first.index, second.index) == (0, 1)
    with database.reading() as reading:
        assert reading.audit.event(1).leaf_hash == second.leaf_hash
        with pytest.raises(NotFoundError):
            reading.audit.event(2)


def test_the_header_holds_what_the_writer_adds(database: Database) -> None:
    before = time.time_ns() // 1_000_000
    with database.work() as work:
        work.commit(used("key:1", actor="person:alice"), used("key:1"))
    with database.reading() as reading:
        first, second = (event.header for event in reading.audit.events(0, 2))
    assert (first["ks"], second["ks"]) == (0, 1)
    assert (first["as"], second["as"], second["ns"]) == (0, 0, 1)
    assert (first["n"], first["sc"], first["cp"], first["pv"]) == ("test-node", str(SCOPE), "", "")
    assert before <= first["t"] <= time.time_ns() // 1_000_000
    event_id = UUID(first["ev"])
    assert (event_id.version, event_id.variant) == (7, "specified in RFC 4122")
    assert event_id.int >> 80 == first["t"]


def test_work_that_does_not_commit_leaves_nothing_behind(database: Database) -> None:
    with database.work() as work:
        work.log.append([used()])
    assert check_log(database) == 0


def test_threads_that_write_at_once_share_one_log(database: Database) -> None:
    def write(number: int) -> None:
        for _ in range(20):
            with database.work() as work:
                work.commit(used(f"key:{number % 3}"), used("request:1"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert check_log(database) == 8 * 20 * 2


def test_processes_that_write_at_once_share_one_log(database: Database, database_url: str) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, database_url, f"node-{number}"])
        for number in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert check_log(database) == 3 * 40 * 2


def test_a_memory_is_forgotten_when_somebody_else_has_written(database: Database) -> None:
    memory = Memory()
    for number in range(6):
        with database.work(memory if number % 3 else None) as work:
            work.commit(used("key:1"))
    assert check_log(database) == 6


def test_a_memory_survives_an_event_that_the_log_refuses(database: Database) -> None:
    memory = Memory()
    with database.work(memory) as work:
        work.commit(used("key:1"))
    with pytest.raises(InvalidInputError), database.work(memory) as work:
        work.commit(used("key:1"), used("key:1", text="x" * 300_000))
    with pytest.raises(CanonicalError), database.work(memory) as work:
        work.commit(used("key:1"), used("key:1", number=1.5))
    with database.work(memory) as work:
        work.commit(used("key:1"))
    assert check_log(database) == 2


def test_a_clock_far_behind_the_log_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.work() as work:
        work.commit(used())
    _set_back(monkeypatch, timedelta(seconds=50))
    with database.work() as work:
        work.commit(used())
    _set_back(monkeypatch, timedelta(seconds=70))
    with pytest.raises(LogUnavailableError, match="clock"), database.work() as work:
        work.commit(used())
    assert check_log(database) == 2


def _set_back(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    monkeypatch.undo()
    then = time.time_ns() - int(by.total_seconds() * 1e9)
    monkeypatch.setattr(time, "time_ns", lambda: then)


def test_the_places_around_some_time_are_those_that_a_whole_search_finds(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clocks of several hosts differ by up to a minute, and nights are long."""
    chance, at = random.Random(4711), time.time_ns()  # noqa: S311  (a plan that can be repeated)
    for number in range(30):
        at += chance.choice((0, 5_000, 40_000, 9_000_000)) * 1_000_000
        then = at - (number % 2) * 59_000_000_000
        monkeypatch.setattr(time, "time_ns", lambda then=then: then)
        with database.work() as work:
            work.commit(used())
    with database.reading() as reading:
        times = [event.header["t"] for event in reading.audit.events(0, 30)]
        for since in (*times, times[0] - 1, max(times) + 1):
            for until in (since, since + 45_000, max(times)):
                low = next((i for i, t in enumerate(times) if t >= since), 30)
                high = max((i for i, t in enumerate(times) if t <= until), default=-1)
                start = max(low - 1, 0)
                expected = start, max(start, min(high + 2, 30))
                assert reading.audit.span(since, until) == expected


def test_pages_hold_what_the_filter_says_each_event_once(database: Database) -> None:
    kinds = [EventType.KEY_USED, EventType.KEY_SUSPENDED, EventType.KEY_RESUMED]
    for number in range(30):
        with database.work() as work:
            work.commit(used(f"key:{number % 2}", f"person:{number % 5}", kinds[number % 3]))
    with database.reading() as reading:
        first = reading.audit.event(0)
        filters = {"type": kinds[1], "stream": "key:1", "actor": None, "scope": SCOPE}
        seen, after = [], None
        while True:
            page, after = reading.audit.page(**filters, after=after, limit=2)
            seen += [event.index for event in page]
            if after is None:
                break
        assert seen == [number for number in range(30) if number % 3 == 1 and number % 2 == 1]
        both = {"actor": "person:3", "outcome": Outcome.OK, "since": first.time}
        assert [event.index for event in reading.audit.page(**both)[0]] == list(range(3, 30, 5))
        assert reading.audit.page(**both | {"outcome": Outcome.REFUSED}) == ([], None)
        assert reading.audit.page(actor="person:3", limit=50)[1] is None
        assert len(reading.audit.page(actor="person:3")[0]) == 6


def test_what_is_rare_among_much_is_not_looked_for_in_all_of_it(
    database: Database, database_url: str
) -> None:
    """Whichever of two filters it is that few events pass, they are found by that one."""
    rare = used("key:1", "person:2"), used("key:1", "person:1", EventType.KEY_SUSPENDED)
    with database.work() as work:
        work.commit(*rare, *[used("key:1", "person:1") for _ in range(5_000)])
    engine, steps = open_engine(database_url), Counter[str]()
    for actor, kind in (("person:2", EventType.KEY_USED), ("person:1", EventType.KEY_SUSPENDED)):
        with reading(engine) as connection:
            if engine.dialect.name == "sqlite":
                count = partial(steps.update, [actor])
                driver_of(connection).set_progress_handler(count, 100)
            page, _ = Audit(connection).page(actor=actor, type=kind)
        assert [event.index for event in page] == [kind is EventType.KEY_SUSPENDED]
    assert max(steps.values(), default=0) * 100 < 15_000  # of SQLite's machine
    engine.dispose()


def test_pages_by_time_include_the_first_moment_and_not_the_last(database: Database) -> None:
    for _ in range(3):
        with database.work() as work:
            work.commit(used())
        time.sleep(0.005)
    with database.reading() as reading:
        times = [event.time for event in reading.audit.events(0, 3)]
        page, _ = reading.audit.page(since=times[1], until=times[2])
        assert [event.index for event in page] == [1]
        later = datetime.now(UTC) + timedelta(hours=1)
        assert reading.audit.page(since=later) == ([], None)


@pytest.mark.parametrize("cursor", ["", "x", "1", "1.x", "1.2.3", "'; --"])
def test_a_cursor_that_is_not_ours_is_refused(database: Database, cursor: str) -> None:
    with database.reading() as reading, pytest.raises(InvalidInputError):
        reading.audit.page(after=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_size(database: Database, limit: int) -> None:
    with database.reading() as reading, pytest.raises(InvalidInputError):
        reading.audit.page(limit=limit)


def test_every_event_can_be_proved_before_anything_is_sealed(database: Database) -> None:
    with database.work() as work:
        work.commit(*[used() for _ in range(300)])
    with database.reading() as reading:
        tree, read = reading.audit.head(), reading.audit.hashes()
        for event in reading.audit.events(0, 300):
            proof = inclusion_proof(read, event.index, 300)
            verify_inclusion(event.leaf_hash, event.index, 300, proof, tree.root)


def test_a_snapshot_does_not_see_what_came_later(database: Database) -> None:
    with database.reading() as reading:
        assert reading.audit.head().size == 0
        with database.work() as work:
            work.commit(used())
        assert reading.audit.head().size == 0
        assert list(reading.audit.events(0, 10)) == []
    assert check_log(database) == 1
