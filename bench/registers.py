"""Registers that grow: a page costs the same at any size, and an export holds one page at a time.

    python -m bench.registers [--rows 1000000] [--only sqlite] > bench/registers.jsonl

Pages of 50 of the register of keys, under every filter that the API offers, alone and with a
scope, on SQLite and on PostgreSQL; then the whole register as CSV. Rows are made by the database
itself, in the product's own tables. A line a filter; the ratio is to the smallest register whose
page has as many rows, since an empty page is cheap anywhere.
"""

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Table, text

from hsm.types import Algorithm
from keyvault.domain.keys import KeyState
from keyvault.domain.registers import COLUMNS, Register, as_csv
from keyvault.domain.scopes import Scope
from keyvault.store import Database, Reading, tables
from tests import databases

SIZES, PAGE, TIMES, EXPORTED = (100, 1_000, 10_000), 50, 60, 100_000
SCOPES = [Scope("ACME", "IS", f"u{number}") for number in range(16)]
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "state": {"state": KeyState.ACTIVE},
    "rare state": {"state": KeyState.SUSPENDED},
    "algorithm": {"algorithm": Algorithm.EC_P256},
    "rare algorithm": {"algorithm": Algorithm.RSA_4096},
    "label": {"label": "label 7"},
    "state and algorithm, never together": {
        "state": KeyState.DEACTIVATED,
        "algorithm": Algorithm.AES_256,
    },
    "all three": {
        "state": KeyState.ACTIVE,
        "algorithm": Algorithm.EC_P256,
        "label": "label 7",
    },
}
# Half are active; the fourth is deactivated; all AES keys are active, so that no page has both.
_ROW = """
INSERT INTO key (id, scope, label, algorithm, usage, key_class, residence, verify, extractable,
    state, version, created_at, protect_until, process_until, public_key, check_value, owner)
SELECT {id}, 'ACME/IS/u' || (i % 16), 'label ' || (i % 97),
    CASE WHEN i % 5003 = 3 THEN 'RSA-4096' WHEN i % 4 = 0 THEN 'AES-256' ELSE 'EC-P256' END,
    'sign', 'standard', 'resident', 'always', {false},
    CASE WHEN i % 5009 = 3 THEN 'suspended' WHEN i % 4 = 1 THEN 'deactivated' ELSE 'active' END,
    1, 1700000000000000 + i * 1000, 1900000000000000 + i, 1900000000000000 + i, {bytes}, '', 'alice'
FROM {numbers}
"""
WORDS = {
    "sqlite": {
        "id": "printf('%08x-0000-4000-8000-%012x', i, i)",
        "false": "0",
        "bytes": "zeroblob(91)",
        "numbers": "(WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < :last) SELECT i FROM n)",
    },
    "postgresql": {
        "id": "lpad(to_hex(i), 8, '0') || '-0000-4000-8000-' || lpad(to_hex(i), 12, '0')",
        "false": "false",
        "bytes": "decode(repeat('00', 91), 'hex')",
        "numbers": "generate_series(0, :last) AS i",
    },
}
Page = Callable[[Reading], tuple[Sized, object]]


def fill(database: Database, rows: int) -> None:
    """Make so many keys, and have the database look at them once, as it does by itself."""
    words = WORDS[database._engine.dialect.name]  # noqa: SLF001  (bench)
    insert(database, {tables.key: _ROW.format(**words)}, rows)


def insert(database: Database, statements: dict[Table, str], rows: int, **given: object) -> None:
    """Fill tables by one statement each; their indexes are made afterwards, which is faster."""
    with database._engine.connect() as connection:  # noqa: SLF001  (rows without events: bench only)
        for table, statement in statements.items():
            for index in table.indexes:
                index.drop(connection)
            connection.execute(text(statement), {"last": rows - 1, **given})
            for index in table.indexes:
                index.create(connection)
        connection.commit()
        looked = connection.execution_options(isolation_level="AUTOCOMMIT")
        looked.execute(
            text("VACUUM ANALYZE" if "postgresql" in str(looked.engine.url) else "ANALYZE")
        )


def milliseconds(database: Database, page: Page) -> tuple[float, int]:
    """Best time of one page in a transaction of its own, as the API reads it, and its rows."""
    seen = []  # the best of many is the database's; the rest is the neighbours'
    for _ in range(TIMES):
        began = time.perf_counter()
        with database.reading() as work:
            found, _ = page(work)
        seen.append(time.perf_counter() - began)
    return min(seen) * 1000, len(found)


def pages(database: Database) -> Iterator[tuple[str, tuple[float, int]]]:
    """Measure every filter for who sees all scopes, then for who sees one, then several."""
    for who, scopes in (("", None), (", one scope", SCOPES[3:4]), (", 16 scopes", SCOPES)):
        for name, chosen in FILTERS.items():
            asked = {"scopes": None if scopes is None else frozenset(scopes), **chosen}
            page = partial(_page, asked)
            yield name + who, milliseconds(database, page)


def _page(asked: dict[str, Any], work: Reading) -> tuple[Sized, object]:
    return work.keys.page(limit=PAGE, **asked)


def export(url: str) -> dict[str, Any]:
    """Write the register of keys as CSV to nowhere: seconds, bytes, and the peak of memory."""
    database, size, before = Database(url), 0, _peak()
    began = time.perf_counter()
    for part in as_csv(COLUMNS[Register.KEYS], _rows(database)):
        size += len(part)
    seconds = round(time.perf_counter() - began, 1)
    database.close()
    return {"seconds": seconds, "bytes": size, "peak_mib_more": round(_peak() - before, 1)}


def _rows(database: Database) -> Iterator[list[dict[str, Any]]]:
    after: str | None = None
    while True:
        with database.reading() as work:
            keys, after = work.keys.page(after=after, limit=500)
            ids = [key.id for key in keys]
            work.custody.latest_of(ids)
            work.keys.beside(ids)
        yield [{name: getattr(key, name, "") for name in COLUMNS[Register.KEYS]} for key in keys]
        if after is None:
            return


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(url: str, rows: int) -> dict[str, tuple[float, int]]:
    database = Database(url)
    database.migrate()
    fill(database, rows)
    try:
        return dict(pages(database))
    finally:
        database.close()


Measured = Callable[[str, int], dict[str, tuple[float, int]]]


def grown(
    scenario: str, name: str, urls: Iterator[str], sizes: tuple[int, ...], measure: Measured
) -> Iterator[dict[str, Any]]:
    """Measure one database at every size: a line a filter, the ratio to the smallest as full."""
    first: dict[tuple[str, int], float] = {}
    for rows in sizes:
        for label, (took, there) in measure(next(urls), rows).items():
            told = {"scenario": scenario, "database": name, "rows": rows, "filter": label}
            ratio = took / first.setdefault((label, there), took)
            yield {**told, "page": there, "ms": round(took, 3), "ratio": round(ratio, 2)}


def lines(name: str, urls: Iterator[str], largest: int) -> Iterator[dict[str, Any]]:
    """Measure one database at every size, then an export in a process of its own."""
    yield from grown("registers.page", name, urls, (*SIZES, largest), measured)
    for rows in (1_000, EXPORTED):
        url = next(urls)
        measured_rows = Database(url)
        measured_rows.migrate()
        fill(measured_rows, rows)
        measured_rows.close()
        line = (sys.executable, "-m", "bench.registers", "--export", url)
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        told = {"scenario": "registers.export", "database": name, "rows": rows}
        yield {**told, **json.loads(done.stdout)}


def urls_of(name: str, running: ExitStack) -> Iterator[str]:
    """Empty databases, one after another, gone at the end."""
    folder = running.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
    if name == "sqlite":
        yield from (f"sqlite:///{folder}/{number}.db" for number in range(9))
        return
    Path(folder).chmod(0o755)
    databases.prepare(Path(folder))
    server, process = databases.start(Path(folder))
    running.callback(process.wait, databases.PATIENCE)
    running.callback(process.send_signal, signal.SIGQUIT)
    yield from (server.create("template1") for _ in range(9))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.registers", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--export", metavar="URL", help="only this, as the bench calls itself")
    options = parser.parse_args()
    if options.export:
        print(json.dumps(export(options.export)))
        return
    for name in (options.only,) if options.only else ("sqlite", "postgresql"):
        with ExitStack() as running:
            for line in lines(name, urls_of(name, running), options.rows):
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
