"""A disk that is full, over and over: nothing acknowledged is lost, and with room it goes on."""

import multiprocessing
import os
import random
import resource
import subprocess
from pathlib import Path

import psycopg
import pytest

from keyvault.domain.errors import LogUnavailableError, OutcomeUnknownError
from keyvault.store import Database
from tests.databases import _as_user
from tests.store.events import check_log, used

CONTEXT = multiprocessing.get_context("forkserver")
PATIENCE = 30.0  # seconds
PADDING = 1_000  # random bytes in each event, so that a file is soon as long as it may be


def fill(url, limit, told):
    """Write until nothing more fits, in a process whose files may only get so long."""
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    database = Database(url, node="victim")
    with Path(told).open("a", buffering=1, encoding="ascii") as output:
        try:
            while True:
                with database.work() as work:
                    receipts = work.commit(
                        *[used(reason=os.urandom(PADDING).hex()) for _ in range(8)]
                    )
                output.write("".join(f"{r.index} {r.leaf_hash.hex()}\n" for r in receipts))
        except (LogUnavailableError, OutcomeUnknownError) as error:
            output.write(f"{type(error).__name__}\n")
    os._exit(0)


def filled(url, limit, told):
    """Return what was acknowledged, and the error at the end."""
    child = CONTEXT.Process(target=fill, args=(url, limit, told))
    child.start()
    child.join(PATIENCE)
    if child.exitcode is None:
        child.kill()
    assert child.exitcode == 0
    *lines, error = told.read_text().splitlines()
    return {int(i): h for i, h in (line.split() for line in lines)}, error


def check(url, acknowledged):
    """All of it is there, the log is one whole, and with room it goes on."""
    database = Database(url)
    with database.reading() as reading:
        head = reading.audit.head().size
        kept = {e.index: e.leaf_hash.hex() for e in reading.audit.events(0, head)}
    assert {i: kept.get(i) for i in acknowledged} == acknowledged
    with database.work() as work:
        work.commit(used())
    assert check_log(database) == head + 1
    database.close()


def longest(path):
    return max(one.stat().st_size for one in path.parent.glob(f"{path.name}*"))


def campaign_sqlite(url, folder, times):
    chance, acknowledged = random.Random(6), {}  # noqa: S311  (a plan that can be repeated)
    path = Path(url.removeprefix("sqlite:///"))
    for number in range(times):
        limit = longest(path) + chance.randrange(20_000, 200_000)
        more, error = filled(url, limit, folder / f"told-{number}")
        assert error == LogUnavailableError.__name__
        acknowledged |= more
        check(url, acknowledged)
    return acknowledged


def test_a_full_disk_loses_nothing_on_sqlite(tmp_path, sqlite_template):
    (tmp_path / "log.db").write_bytes(sqlite_template.read_bytes())
    assert campaign_sqlite(f"sqlite:///{tmp_path / 'log.db'}", tmp_path, 3)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_a_full_disk_loses_nothing_on_sqlite_twenty_times(tmp_path, sqlite_template):
    (tmp_path / "log.db").write_bytes(sqlite_template.read_bytes())
    kept = campaign_sqlite(f"sqlite:///{tmp_path / 'log.db'}", tmp_path, 20)
    print(f"sqlite: 20 full disks, {len(kept)} events acknowledged, none lost")  # noqa: T201  (the counts)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_a_full_disk_loses_nothing_on_postgresql(postgresql, tmp_path):
    """The server's own processes may write no longer files, as those that serve a disk quota."""
    url = postgresql.create("template")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as line:
        postmaster = int((postgresql.folder / "data" / "postmaster.pid").read_text().split()[0])
        acknowledged = {}
        for number in range(5):
            room = 18_000_000 + 2_000_000 * number  # over a segment of the write-ahead log
            _limit(postmaster, room)
            try:
                more, error = filled(url, 0, tmp_path / f"told-{number}")
            finally:
                _limit(postmaster, "unlimited")
            assert error == LogUnavailableError.__name__
            acknowledged |= more
            check(url, acknowledged)
        assert line.execute("SELECT 1").fetchone() == (1,)
    print(f"postgresql: 5 full disks, {len(acknowledged)} events acknowledged, none lost")  # noqa: T201  (the counts)


def _limit(pid, size):
    """Of the files that the server's next processes may write; they take it from their parent."""
    prefix, _ = _as_user()  # a process may limit those of its own user
    subprocess.run([*prefix, "prlimit", f"--pid={pid}", f"--fsize={size}:"], check=True)
