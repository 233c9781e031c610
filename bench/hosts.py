"""1, 2 and 4 api processes over one PostgreSQL, with 1 and 2 gates: rates, and one whole log.

    python -m bench.hosts [--rounds 5] > bench/hosts.jsonl

All combinations run at once and are loaded in turn, 32 clients each; the others are idle then.
An api process works with one gate, so two gates take half of them each; the gates share one token,
and all share one recorder. At the end every answer that was given is held against the log: its
event is there with the hash that was told, none is there twice or without an answer, and the root
worked out from all leaves is the head's.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import Scenario, Seen, measure, summary
from bench.service import Service
from keyvault.domain.audit import EventType
from keyvault.domain.tree import leaf_hash, root_of
from keyvault.store import Database
from tests import databases
from tests.stack import READY_LIMIT, ROOT, Stack, free_port

CLIENTS, DIGESTS = 32, 1
COMBINATIONS = ((1, 1), (2, 1), (4, 1), (2, 2), (4, 2))  # api processes, gates
Processes = dict[str, int]


def started(running: ExitStack, folder: Path, name: str, *line: str) -> int:
    """Start a process of ours for as long as this runs."""
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen((sys.executable, *line), stdout=log, stderr=log, cwd=ROOT)
    running.callback(process.wait, 20)
    running.callback(process.terminate)
    return process.pid


def second_gate(running: ExitStack, stack: Stack) -> tuple[int, Path]:
    """One more gate on the same token; its process and the settings of who calls it."""
    config = stack.config.with_name("second.toml")
    config.write_text(stack.config.read_text().replace("keys.sock", "keys-2.sock"))
    line = ("-m", "keyvault.gate", "--settings", str(config), "--module", "keys")
    pid = started(running, stack.folder, "gate-2", *line)
    _until_it_says(stack.folder / "gate-2.log", "ready")
    return pid, config


def combination(
    running: ExitStack, stack: Stack, apis: int, configs: list[Path]
) -> tuple[int, Processes]:
    """So many api processes on one port, taking turns with the gates; port and processes."""
    port, processes = free_port(), {}
    for number in range(apis):
        config = configs[number % len(configs)]
        own = config.with_name(f"{config.stem}-{port}.toml")
        text = config.read_text().replace(f"port = {stack.settings.api.port}", f"port = {port}")
        own.write_text(text.replace("[api]", f"[api]\nworkers = {max(apis, 2)}"))
        name = f"api-{port}-{number}"
        line = ("-m", "api.server", "--settings", str(own), "--worker", str(number + 1))
        processes[name] = started(running, stack.folder, name, *line)
        _until_it_says(stack.folder / f"{name}.log", "listening")
    return port, processes


def _until_it_says(log: Path, word: str) -> None:
    until = time.monotonic() + READY_LIMIT
    while word not in log.read_text():
        if time.monotonic() > until:
            raise SystemExit(f"a process did not start:\n{log.read_text()}")
        time.sleep(0.05)


def check(database: str, told: Path) -> dict[str, int]:
    """Hold every answer against the log. Raises `SystemExit` for one that is not as it should be.

    Used keys are all this log was asked for since, so that there is an answer for each such event.
    """
    answers = [json.loads(line)["event"] for line in told.read_text().splitlines()]
    by_index = {answer["index"]: answer["leaf_hash"] for answer in answers}
    store = Database(database)
    with store.reading() as work:
        head = work.audit.head()
        events = list(work.audit.events(0, head.size))
    store.close()
    hashes = [leaf_hash(event.leaf) for event in events]
    used = [event.index for event in events if event.found_by["ty"] == EventType.KEY_USED]
    wrong = [index for index, said in by_index.items() if hashes[index].hex() != said]
    missing, unasked = by_index.keys() - set(used), set(used) - by_index.keys()
    doubled = len(answers) - len(by_index)
    if wrong or missing or unasked or doubled or root_of(hashes) != head.root:
        raise SystemExit(f"the log is wrong: {wrong=} {missing=} {unasked=} {doubled=}")
    return {"answers": len(answers), "events": head.size, "lost": 0, "doubled": 0}


@contextmanager
def postgresql() -> Iterator[str]:
    """A server that flushes, with an empty database; the database's URL."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        databases.prepare(folder)
        server, process = databases.start(folder, "-c", "fsync=on")
        try:
            server.run("CREATE DATABASE bench")
            yield server.url("bench")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def loads(running: ExitStack, stack: Stack, told: Path) -> list[Scenario]:
    """Start every combination; what loads each of them, and is compared with the first."""
    service, (gate, second) = Service(stack, ["standard"]), second_gate(running, stack)
    parts, scenarios = service.processes(), list[Scenario]()
    for apis, gates in COMBINATIONS:
        configs = [stack.config, second][:gates]
        port, processes = combination(running, stack, apis, configs)
        own = {"gate": parts["gate"], "recorder": parts["recorder"], **processes}
        line = service.sign_line(port, CLIENTS, DIGESTS)
        line = (*line[:-1], "--told", str(told), line[-1])
        name = f"hosts.postgresql.api{apis}.gate{gates}.c{CLIENTS}"
        first = () if apis == 1 else (scenarios[0].name,)
        counted = own | ({"gate-2": gate} if gates > 1 else {})
        scenarios.append(Scenario(name, line, DIGESTS, counted, first))
    return scenarios


def run(options: argparse.Namespace) -> Iterator[Seen]:
    with ExitStack() as running:
        url = running.enter_context(postgresql())
        stack = running.enter_context(Stack.make(url))
        stack.start()
        told = stack.folder / "told"
        scenarios = loads(running, stack, told)
        seen: dict[str, list[Seen]] = {one.name: [] for one in scenarios}
        for _ in range(options.rounds):
            for one in scenarios:
                seen[one.name].append(measure(one, options.seconds, {}))
        at = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0],
        }
        for one in scenarios:
            yield from ({**at, **line} for line in summary(one, seen))
        yield {**at, "scenario": "hosts.log", **check(url, told)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hosts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    for line in run(options):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
