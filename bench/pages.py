"""Pages of 50 events out of logs that grow, with every filter that is offered.

    python -m bench.pages [--rows 1000000] [--only sqlite] > bench/pages.jsonl

On SQLite and on PostgreSQL. Rows are made by the database itself, in the product's own tables;
their leaves are as long as real ones and say nothing, since no page reads them.
"""

import argparse
import json
from collections.abc import Sized
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

from bench.registers import PAGE, WORDS, grown, insert, milliseconds, urls_of
from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.scopes import Scope
from keyvault.store import Database, Reading, tables

SIZES = (1_000, 10_000)
SCOPE = Scope("ACME", "IS", "u5")
RAREST = 63  # events in a log of any size, a seventh of them by each actor
SINCE = datetime.fromtimestamp(1_700_000_000.5, UTC)
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "type": {"type": EventType.KEY_USED},
    "rare type": {"type": EventType.KEY_GENERATED},
    "rarest type": {"type": EventType.KEY_SUSPENDED},
    "outcome": {"outcome": Outcome.OK},
    "rare outcome": {"outcome": Outcome.REFUSED},
    "stream": {"stream": "key:7"},
    "actor": {"actor": "system:dcc-3"},
    "scope": {"scope": SCOPE},
    "since": {"since": SINCE},
    "actor and rare type": {"actor": "system:dcc-3", "type": EventType.KEY_GENERATED},
    "actor and rarest type": {"actor": "system:dcc-3", "type": EventType.KEY_SUSPENDED},
    "scope and rare outcome": {"scope": SCOPE, "outcome": Outcome.REFUSED},
}
_EVENT = f"""
INSERT INTO event (idx, leaf, leaf_hash, type, outcome, stream, actor, scope, time_ms)
SELECT i, {{leaf}}, {{hash}}, CASE WHEN i % 20 = 0 THEN '{EventType.KEY_GENERATED}'
    WHEN i % {{apart}} = 3 AND i < {RAREST} * {{apart}} THEN '{EventType.KEY_SUSPENDED}'
    ELSE '{EventType.KEY_USED}' END,
    CASE WHEN i % 19 = 0 THEN '{Outcome.REFUSED}' ELSE '{Outcome.OK}' END,
    'key:' || (i % 18), 'system:dcc-' || (i % 7), 'ACME/IS/u' || (i % 8), 1700000000000 + i
FROM {{numbers}}
"""  # noqa: S608  (our own words)
_PAYLOAD = """
INSERT INTO event_payload (idx, salt, payload) SELECT i, {salt}, {payload} FROM {numbers}
"""
_BYTES = {"leaf": 520, "hash": 32, "salt": 16, "payload": 230}
_ZEROS = {"sqlite": "zeroblob({})", "postgresql": "decode(repeat('00', {}), 'hex')"}


def measured(url: str, rows: int) -> dict[str, tuple[float, int]]:
    """Best time and rows of a page with each filter, out of a new log of so many events."""
    database = Database(url)
    database.migrate()
    kind = url.partition(":")[0].partition("+")[0]
    words = {name: _ZEROS[kind].format(size) for name, size in _BYTES.items()}
    words |= {"numbers": WORDS[kind]["numbers"], "apart": str(rows // (RAREST + 1))}
    statements = {tables.event: _EVENT, tables.event_payload: _PAYLOAD}
    insert(database, {table: text.format(**words) for table, text in statements.items()}, rows)
    try:
        return {
            name: milliseconds(database, partial(_page, chosen)) for name, chosen in FILTERS.items()
        }
    finally:
        database.close()


def _page(chosen: dict[str, Any], work: Reading) -> tuple[Sized, object]:
    return work.audit.page(limit=PAGE, **chosen)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    options = parser.parse_args()
    for name in (options.only,) if options.only else ("sqlite", "postgresql"):
        with ExitStack() as running:
            sizes = (*SIZES, options.rows)
            for line in grown("pages.events", name, urls_of(name, running), sizes, measured):
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
