"""Durable events a second: the recorder's own writer beside the raw driver with the same rows.

    python -m bench.events [--seconds 1] [--rounds 5] [--leaves 1000000]

For SQLite and PostgreSQL, and for 1, 32 and 256 callers at once: as many events as there are
callers are what arrives while one commit is under way, so they are one transaction in both. And
the time in which the whole tree is worked out anew from so many leaves.
"""

import argparse
import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from os import urandom
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from sqlalchemy import create_engine

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.tree import Tree, leaf_hash
from keyvault.recorder import Recorder
from keyvault.shadow import Shadow
from keyvault.store import Database
from keyvault.store.recorder_client import Record
from tests import databases

CALLERS = (1, 32, 256)
EVENT = (
    "INSERT INTO event (idx, leaf, leaf_hash, type, outcome, stream, actor, scope, time_ms) "
    "VALUES ({0}, {0}, {0}, 'KEY.USED', 'ok', 'key:bench', 'service:bench', '', {0})"
)
PAYLOAD = "INSERT INTO event_payload (idx, salt, payload) VALUES ({0}, {0}, {0})"
COUNTER = (
    "INSERT INTO stream_head (name, next) VALUES ({0}, {0}) "
    "ON CONFLICT (name) DO UPDATE SET next = excluded.next"
)
HEAD = "UPDATE log_head SET size = {0}, peaks = {0}"


def raw(url: str, batch: int, seconds: float) -> float:
    """The driver alone: the same rows, the same batch, durable, from an empty log."""
    line: Any = create_engine(url).raw_connection()
    cursor, mark = line.cursor(), "?" if url.startswith("sqlite") else "%s"
    if mark == "?":
        cursor.execute("PRAGMA synchronous=FULL")

    def write(start: int) -> None:
        now, places = time.time_ns() // 1_000_000, range(start, start + batch)
        names = [(f"{name}/bench", start) for name in ("stream", "actor", "node")]
        cursor.executemany(COUNTER.format(mark), names)
        leaves = [(place, urandom(520), urandom(32), now) for place in places]
        cursor.executemany(EVENT.format(mark), leaves)
        payloads = [(place, urandom(16), urandom(230)) for place in places]
        cursor.executemany(PAYLOAD.format(mark), payloads)
        cursor.execute(HEAD.format(mark), (start + batch, urandom(320)))
        line.commit()

    rate = timed(write, batch, seconds)
    line.close()
    return rate


def ours(url: str, batch: int, seconds: float) -> float:
    """The recorder's writer: leaves, counters, tree and head, checks of what is stale."""
    database = Database(url, "bench")
    recorder = Recorder(database)
    calls = [Record(_event(), {}, None).pack() for _ in range(batch)]  # what callers have done

    def write(_: int) -> None:
        recorder.append(calls)

    rate = timed(write, batch, seconds)
    database.close()
    return rate


def _event() -> AuditEvent:
    digest = urandom(32).hex()
    payload = {"action": "key:sign", "key": "bench", "mechanism": "ecdsa", "count": 1}
    payload |= {"digest": digest, "result_sha256": digest}
    actor = "service:bench"
    return AuditEvent(EventType.KEY_USED, Outcome.OK, uuid4(), "key:bench", actor, payload)


def timed(write: Callable[[int], None], batch: int, seconds: float) -> float:
    began = time.perf_counter()
    for start in count(0, batch):
        write(start)
        if (spent := time.perf_counter() - began) > seconds:
            return (start + batch) / spent
    raise AssertionError


def rebuild(leaves: int) -> dict[str, float]:
    """Work out the whole tree anew: as the writer does, and as the sealer does, with tiles."""
    hashes = [leaf_hash(b"%d" % number) for number in range(leaves)]
    began = time.perf_counter()
    tree = Tree().plus_all(hashes)
    writer = time.perf_counter() - began
    began, shadow = time.perf_counter(), Shadow(lambda *_: b"", 0)
    for one in hashes:
        shadow.add(one)
    sealer = time.perf_counter() - began
    if shadow.root != tree.root:
        raise AssertionError
    return {"leaves": leaves, "writer_seconds": writer, "sealer_seconds": sealer}


@contextmanager
def fresh(folder: Path) -> Iterator[dict[str, Callable[[], str]]]:
    """How to make an empty, migrated database of each kind; the server is durable."""
    databases.prepare(folder / "pg")
    server, process = databases.start(folder / "pg", "-c", "fsync=on")
    try:
        server.run("CREATE DATABASE template")
        migrated(server.url("template"))
        numbers = count()
        yield {
            "sqlite": lambda: migrated(f"sqlite:///{folder / f'{next(numbers)}.db'}"),
            "postgresql": lambda: server.create("template"),
        }
    finally:
        process.send_signal(signal.SIGINT)  # at once: what still calls is cut off
        process.wait(30)


def migrated(url: str) -> str:
    database = Database(url)
    database.migrate()
    database.close()
    return url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--leaves", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "pg").mkdir(mode=0o755)
        with fresh(folder) as kinds:
            for kind, make in kinds.items():
                compare(kind, make, options.seconds, options.rounds)
    say("tree.rebuild", **{n: round(v, 3) for n, v in rebuild(options.leaves).items()})


def compare(kind: str, make: Callable[[], str], seconds: float, rounds: int) -> None:
    """Take turns, so that what else the machine does is in both; tell the middle of the ratios."""
    for callers in CALLERS:
        pairs = [
            (ours(make(), callers, seconds), raw(make(), callers, seconds)) for _ in range(rounds)
        ]
        own, driver = (round(median(rates)) for rates in zip(*pairs, strict=True))
        ratio = median(own / driver for own, driver in pairs)
        told = {"per_second": own, "raw": driver, "ratio": round(ratio, 2)}
        say(f"events.durable.{kind}.c{callers}", **told)


def say(scenario: str, **figures: float) -> None:
    print(json.dumps({"scenario": scenario, **figures}), flush=True)


if __name__ == "__main__":
    main()
