"""A register of 100, 10,000 and 1,000,000 keys: what using one costs, cached and missed.

    python -m bench.keystore > bench/keys.jsonl

Up to 1,000 keys are made in the token, the rest rests wrapped. The wrapped keys that are used are
really made, wrapped and sealed by the device; the others are rows of the same shape whose blobs
are nothing, in the house's register and in the gate's own. Three services run side by side, one
for each size, and take turns. A miss is the first use of a wrapped key since the service started:
neither the api nor the gate holds it.
"""

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from bench.measure import Scenario, measure, memory
from bench.registers import WORDS, insert
from bench.service import Service, ready_after
from hsm.device import Device
from hsm.registry import open_device
from hsm.types import Algorithm, KeySpec, KeyUsage, MadeKey, VerifyPolicy
from keyvault.domain.keys import Key, KeyState, Residence, kek_name, service_key_id
from keyvault.domain.scopes import Scope
from keyvault.gate.keks import MAC_ID
from keyvault.gate.register import Register
from keyvault.settings import Settings
from keyvault.store import Database, tables
from keyvault.store.keys import Keys
from tests.databases import MEMORY
from tests.stack import SCOPE, Stack

RESIDENT, CACHED, CYCLE = 1_000, 100, 6_000  # CYCLE: more than the gate's cache holds
ONCE = ("first", "miss", "flood")  # every key of the list once
KEK_ID = service_key_id(kek_name(1))
NUMBERS = WORDS["sqlite"]["numbers"]
ID = "printf('%08x-0000-4000-8000-%012x', i, i)"
ROWS = f"""
INSERT INTO key (id, scope, label, algorithm, usage, key_class, residence, verify, extractable,
    state, version, created_at, protect_until, process_until, public_key, check_value, owner)
SELECT {ID}, :scope, 'label ' || (i % 97), 'EC-P256', 'sign', 'bulk', 'wrapped', 'never', 0,
    'active', 1, 1700000000000000 + i, 1900000000000000, 1900000000000000, zeroblob(91), '', 'alice'
FROM {NUMBERS}
"""  # noqa: S608  (our own words)
BLOBS = f"""
INSERT INTO wrapped_key
SELECT {ID}, '', 'EC-P256', 'sign', 0, 0, zeroblob(160), :kek, :mac_key, zeroblob(32), zeroblob(91)
FROM {NUMBERS}
"""  # noqa: S608  (our own words)
LIVES = f"""
INSERT INTO life
SELECT unhex_id(i), 'bulk', 'never', 0, 'active', 1900000000, 1900000000, 1 FROM {NUMBERS}
"""  # noqa: S608  (our own words)


class Size(NamedTuple):
    """A register: all its keys, those in the token, and the wrapped ones that can be used."""

    rows: int
    resident: int
    wrapped: int


SIZES = (
    Size(100, 100, 0),
    Size(10_000, RESIDENT, CYCLE),
    Size(1_000_000, RESIDENT, CYCLE),
)


# Making: in a process of its own, before the gate runs, since it loads the module.


def make(settings: Settings, size: Size, told: Path) -> None:
    """Fill both registers; `told` gets path and public key of each key that can be used."""
    pin = (settings.credentials / settings.keys.pin).read_bytes().strip()  # type: ignore[operator]
    device = open_device(settings.keys.uri, pin)
    database = Database(settings.database, settings.node)
    gates = Register(settings.state / "gate.db")._file  # noqa: SLF001  (rows that nobody asked for)
    gates.execute("BEGIN")
    fill = size.rows - size.resident - size.wrapped
    if fill > 0:
        given = {"scope": str(Scope(**SCOPE)), "kek": KEK_ID, "mac_key": MAC_ID}
        insert(database, {tables.key: ROWS, tables.wrapped_key: BLOBS}, fill, **given)
        _fill_gate(gates, fill)
    engine = database._engine  # noqa: SLF001  (the same)
    with engine.connect() as connection, told.open("w") as lines:
        rooms = Keys(connection)
        for number in range(size.resident + size.wrapped):
            made, key = _made(device, wrapped=number >= size.resident)
            rooms.add(key, made.wrapped)
            gates.execute("INSERT INTO life VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _life(key))
            spki = b64encode(key.public_key).decode()
            lines.write(f"/v1/keys/{key.id}/signatures\t{spki}\n")
        connection.commit()
    gates.execute("COMMIT")
    device.close()


def _made(device: Device, *, wrapped: bool) -> tuple[MadeKey, Key]:
    key_id, now = uuid4(), datetime.now(UTC)
    spec = KeySpec(key_id.bytes, "bench", Algorithm.EC_P256, KeyUsage.SIGN)
    made = device.generate_wrapped(spec, KEK_ID, MAC_ID) if wrapped else device.generate(spec)
    return made, Key(
        id=key_id,
        scope=Scope(**SCOPE),
        label="bench",
        algorithm=Algorithm.EC_P256,
        usage=KeyUsage.SIGN,
        key_class="bulk" if wrapped else "standard",
        residence=Residence.WRAPPED if wrapped else Residence.RESIDENT,
        verify=VerifyPolicy.NEVER,
        extractable=False,
        state=KeyState.ACTIVE,
        version=1,
        created_at=now,
        active_from=now,
        protect_until=now + timedelta(days=365),
        process_until=now + timedelta(days=730),
        owner="alice",
        public_key=made.public_key,
    )


def _life(key: Key) -> tuple[Any, ...]:
    until = (int(key.protect_until.timestamp()), int(key.process_until.timestamp()))
    wrapped = int(key.residence is Residence.WRAPPED)
    return (key.id.bytes, key.key_class, str(key.verify), 0, "active", *until, wrapped)


def _fill_gate(gates: sqlite3.Connection, rows: int) -> None:
    gates.create_function("unhex_id", 1, lambda i: UUID(fields=(i, 0, 0x4000, 0x80, 0, i)).bytes)
    gates.execute(LIVES, {"last": rows - 1})


# Measuring


@dataclass
class Store:
    """One service with a register of this size, and which of its keys were used already."""

    size: Size
    service: Service
    ready_s: float
    idle: dict[str, int]
    lines: list[str]
    used: int = 0
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def cached(self) -> list[str]:
        """As many in the token as outside, where there are any outside."""
        if not self.size.wrapped:
            return self.lines[:CACHED]
        half, first = CACHED // 2, self.size.resident
        return [*self.lines[:half], *self.lines[first : first + half]]

    def missed(self, count: int) -> list[str]:
        """The next of the wrapped keys that nobody has used."""
        start = self.size.resident + CACHED + self.used
        self.used += count
        if start + count > len(self.lines):
            raise SystemExit("all wrapped keys were used: make more, or fewer rounds")
        return self.lines[start : start + count]

    def scenario(self, name: str, clients: int, lines: list[str]) -> Scenario:
        each = self.service.stack.folder / "each"
        each.write_text("\n".join(lines))
        port = str(self.service.stack.settings.api.port)
        line = self.service.load(
            *("--port", port, "--each", str(each), "--clients", str(clients)),
            *(("--once",) if name.startswith(ONCE) else ()),
        )
        return Scenario(name, line, 1, self.service.processes())

    def run(self, name: str, clients: int, lines: list[str], seconds: float) -> None:
        scenario = self.scenario(f"{name}.c{clients}", clients, lines)
        self.seen.setdefault(scenario.name, []).append(measure(scenario, seconds, {}))


def filled(stack: Stack, size: Size) -> Path:
    """Make so many keys for a service that does not run; return the file that names them."""
    told = stack.folder / "keys.tsv"
    line = (sys.executable, "-m", "bench.keystore", "--make", str(stack.config))
    environment = stack.settings.keys.environment
    with in_memory(Path(environment["SOFTHSM2_CONF"])) as tokens:
        subprocess.run(
            [*line, "--told", str(told), *map(str, size)],
            check=True,
            env={**os.environ, **environment, "SOFTHSM2_CONF": str(tokens)},
        )
    return told


@contextmanager
def in_memory(configuration: Path) -> Iterator[Path]:
    """SoftHSM's tokens in memory for a while: on a disk a key may take a tenth of a second."""
    text = configuration.read_text()
    tokens = text.partition("directories.tokendir = ")[2].partition("\n")[0]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        shutil.copytree(tokens, folder, dirs_exist_ok=True)
        other = configuration.with_name("memory.conf")
        other.write_text(text.replace(tokens, folder))
        yield other
        shutil.copytree(folder, tokens, dirs_exist_ok=True)


def started(stack: Stack, size: Size, told: Path) -> Store:
    """The service that has these keys, from its first process on."""
    ready = ready_after(stack)
    stack.start()
    service = Service(stack, [])
    idle = {part: round(memory(pid)) for part, pid in service.processes().items()}
    return Store(size, service, ready, idle, told.read_text().splitlines())


def lines_of(store: Store, base: Store, at: str) -> Iterator[dict[str, Any]]:
    """One line for each scenario; the rate as a ratio to the smallest register, round by round."""
    about = {"at": at, "load_average": os.getloadavg()[0], "keys": store.size.rows}
    for name, rounds in store.seen.items():
        middle = {
            what: round(median(one[what] for one in rounds), 3)
            for what in ("ops_per_s", "p50_ms", "p99_ms", "cpu_us", "client_cpu_us")
        }
        line = {**about, "scenario": f"keys.{name}", "rounds": len(rounds), **middle}
        line["cpu_us_of"] = {
            part: round(median(one["cpu_us_of"][part] for one in rounds))
            for part in store.service.processes()
        }
        if name in base.seen:
            pairs = zip(rounds, base.seen[name], strict=True)
            line["ratio"] = round(median(a["ops_per_s"] / b["ops_per_s"] for a, b in pairs), 3)
        if name.startswith("miss"):
            hits = store.seen[name.replace("miss", "cached")]
            pairs = zip(rounds, hits, strict=True)
            line["more_ms"] = round(median(a["p50_ms"] - b["p50_ms"] for a, b in pairs), 3)
        yield line
    held = {part: round(memory(pid)) for part, pid in store.service.processes().items()}
    ends = {"ready_s": store.ready_s, "idle_mib": store.idle, "held_mib": held}
    yield {**about, "scenario": "keys.service", "missed": store.used, **ends}


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    with ExitStack() as running:
        sizes = [Size(*size) for size in options.sizes] or SIZES
        stacks = [running.enter_context(Stack.make()) for _ in sizes]
        with ThreadPoolExecutor() as makers:
            told = list(makers.map(filled, stacks, sizes))
        stores = list(map(started, stacks, sizes, told))
        for store in stores:
            store.run("first", 1, store.lines[: CACHED // 2], 60)
            store.run("warm", 1, store.cached, 2.0)
            del store.seen["warm.c1"]
        for _ in range(options.rounds):
            for store in stores:
                store.run("cached", 32, store.cached, options.seconds)
                store.run("cached", 1, store.cached, options.seconds / 2)
            for store in stores[1:]:
                store.run("miss", 1, store.missed(options.misses), 60)
        for store in stores[1:]:
            left = len(store.lines) - store.size.resident - CACHED - store.used
            store.run("flood", 32, store.missed(left), 60)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return [line for store in stores for line in lines_of(store, stores[0], at)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.keystore", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--misses", type=int, default=200, help="of one round")
    parser.add_argument(
        "--size",
        dest="sizes",
        metavar="N",
        type=int,
        nargs=3,
        action="append",
        default=[],
        help="keys, in the token, wrapped and used; once for each register",
    )
    parser.add_argument("--make", type=Path, help="only this, as the bench calls itself")
    parser.add_argument("--told", type=Path)
    parser.add_argument("size", type=int, nargs="*")
    options = parser.parse_args()
    if options.make:
        make(Settings.load(options.make), Size(*options.size), options.told)
        return
    for line in run(options):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
