"""The limit of the log: the raw driver, which writes the same rows, 256 events a transaction."""

import argparse
import json
import sqlite3
import tempfile
import time
from itertools import count
from os import urandom
from pathlib import Path

from keyvault.store import Database

BATCH = 256
EVENT = (
    "INSERT INTO event (idx, leaf, leaf_hash, type, outcome, stream, actor, scope, time_ms) "
    "VALUES (?, ?, ?, 'KEY.USED', 'ok', 'key:bench', 'service:bench', '', ?)"
)
PAYLOAD = "INSERT INTO event_payload (idx, salt, payload) VALUES (?, ?, ?)"
COUNTER = (
    "INSERT INTO stream_head (name, next) VALUES (?, ?) "
    "ON CONFLICT (name) DO UPDATE SET next = excluded.next"
)


def write(log: sqlite3.Connection, start: int) -> None:
    """Append one batch from place `start` on, durably."""
    now, places = time.time_ns() // 1_000_000, range(start, start + BATCH)
    leaves = [(place, urandom(520), urandom(32), now) for place in places]
    log.execute("BEGIN IMMEDIATE")
    log.executemany(COUNTER, [(f"{name}/bench", start) for name in ("stream", "actor", "node")])
    log.executemany(EVENT, leaves)
    log.executemany(PAYLOAD, [(place, urandom(16), urandom(230)) for place in places])
    log.execute("UPDATE log_head SET size = ?, peaks = ?", (start + BATCH, urandom(320)))
    log.execute("COMMIT")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        database = Database(f"sqlite:///{path}")
        database.migrate()
        database.close()
        log = sqlite3.connect(path, isolation_level=None)
        log.execute("PRAGMA synchronous=FULL")
        log.execute("PRAGMA secure_delete=ON")
        began, used = time.perf_counter(), time.process_time()
        for start in count(0, BATCH):
            write(log, start)
            if (spent := time.perf_counter() - began) > seconds:
                break
        used, events = time.process_time() - used, start + BATCH
        log.close()
    print(json.dumps({"per_second": events / spent, "cpu_us": used / events * 1e6}))


if __name__ == "__main__":
    main()
