"""Pages of 50 out of a small and a large register: the slowest of all filters that are offered.

    python -m bench.pages [--rows 1000000] > bench/pages.jsonl

Not part of every run, for filling a log of a million events takes minutes.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.scopes import Scope
from keyvault.store import Database, Memory

SMALL, BATCH, PAGE, TIMES = 1_000, 500, 50, 200
MADE, REFUSED = 20, 19  # one event of so many is the making of a key, or a refusal
SCOPES = [Scope("ACME", "IS", f"90-B3-D5-1F-30-01-00-{number:02X}") for number in range(17)]
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "type": {"type": EventType.KEY_USED},
    "rare type": {"type": EventType.KEY_GENERATED},
    "outcome": {"outcome": Outcome.OK},
    "rare outcome": {"outcome": Outcome.REFUSED},
    "stream": {"stream": "key:7"},
    "actor": {"actor": "system:dcc-3"},
    "scope": {"scope": SCOPES[5]},
    "since": {"since": datetime.now(UTC) - timedelta(hours=1)},
    "actor and rare type": {"actor": "system:dcc-3", "type": EventType.KEY_GENERATED},
}


def event(number: int) -> AuditEvent:
    """One of many, told apart by every field that a filter looks at."""
    return AuditEvent(
        type=EventType.KEY_GENERATED if number % MADE == 0 else EventType.KEY_USED,
        outcome=Outcome.REFUSED if number % REFUSED == 0 else Outcome.OK,
        operation=uuid4(),
        stream=f"key:{number % 18}",
        actor=f"system:dcc-{number % 7}",
        scope=SCOPES[number % len(SCOPES)],
        payload={"count": 1, "digest": sha256(str(number).encode()).hexdigest()},
    )


def fill(database: Database, rows: int) -> None:
    memory = Memory()
    for start in range(0, rows, BATCH):
        with database.work(memory) as work:
            work.commit(*map(event, range(start, min(start + BATCH, rows))))


def milliseconds(database: Database, page: Callable[[Any], object]) -> float:
    """Best time of one page, in a transaction of its own as the API reads it."""
    seen = []  # the best of many is the database's; the rest is the neighbours'

    for _ in range(TIMES):
        began = time.perf_counter()
        with database.reading() as work:
            page(work)
        seen.append(time.perf_counter() - began)
    return min(seen) * 1000


def measured(folder: Path, rows: int) -> Iterator[tuple[str, float]]:
    database = Database(f"sqlite:///{folder}/{rows}.db")
    database.migrate()
    fill(database, rows)
    for name, chosen in FILTERS.items():
        yield (
            name,
            milliseconds(
                database,
                lambda work: work.audit.page(**chosen, limit=PAGE),  # noqa: B023  (called now)
            ),
        )
    database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        small = dict(measured(Path(folder), SMALL))
        for name, large in measured(Path(folder), rows):
            line = {"filter": name, "rows": rows, "ms": round(large, 3)}
            print(json.dumps({**line, "ratio": round(large / small[name], 2)}))


if __name__ == "__main__":
    main()
