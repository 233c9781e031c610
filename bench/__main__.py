"""Measure, side by side in rounds: the raw module call, the gate, the recorder, the whole service.

Each line of output is one scenario: medians over the rounds, and the ratio to the raw call of
the same round. Absolute figures say something about this machine only.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stack import Stack

RAW = "raw.sign_p256"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A program that loads something for a while and prints what it saw."""

    name: str
    line: tuple[str, ...]
    signatures: int = 1  # in one call
    processes: tuple[str, ...] = ()  # whose CPU time is counted


def scenarios(stack: Stack, keys: dict[str, str], system: Any) -> Iterator[Scenario]:
    """Everything that is measured, in the order of one round."""
    config = ("--config", str(stack.config), "--key", keys["standard"])
    token = stack.settings.keys.uri.partition("token=")[2].partition(";")[0]
    module = stack.settings.keys.uri.partition("module-path=")[2]
    pin = stack.settings.credentials / stack.settings.keys.pin  # type: ignore[operator]
    raw = ("bench.raw", "--module", module, "--token", token, "--pin-file", str(pin))
    yield Scenario(RAW, raw)
    gate = ("bench.parts", "gate", *config)
    yield Scenario("gate.sign.c1", gate, 1, ("gate",))
    yield Scenario("gate.sign.c32", (*gate, "--callers", "32"), 1, ("gate",))
    yield Scenario("gate.sign.batch100", (*gate, "--digests", "100"), 100, ("gate",))
    recorder = ("bench.parts", "recorder", *config)
    yield Scenario("recorder.append.c32", (*recorder, "--callers", "32"), 1, ("recorder",))
    yield Scenario("recorder.append.c256", (*recorder, "--callers", "256"), 1, ("recorder",))
    parts = ("api", "gate", "recorder", "sealer", "log-gate")
    door = ("--port", str(stack.settings.api.port), "--ca", str(stack.ca))
    who = ("--certificate", str(system.certificate), "--key", str(system.key))
    for name, clients, digests, key_class in (
        ("http.sign.audit.c1", 1, 1, "standard"),
        ("http.sign.audit.c32", 32, 1, "standard"),
        ("http.sign.audit.verified.c32", 32, 1, "critical"),
        ("http.sign.audit.wrapped.c32", 32, 1, "bulk"),
        ("http.sign.batch100.c8", 8, 100, "standard"),
    ):
        path = f"/v1/keys/{keys[key_class]}/signatures"
        size = ("--clients", str(clients), "--digests", str(digests))
        line = ("bench.load", *door, *who, "--path", path, *size)
        yield Scenario(name, line, digests, parts)


def measure(stack: Stack, scenario: Scenario, seconds: float) -> dict[str, Any]:
    """Run one scenario once."""
    before = cpu(stack, scenario.processes)
    line = [sys.executable, "-m", *scenario.line, "--seconds", str(seconds)]
    environment = {**os.environ, **stack.settings.keys.environment}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{scenario.name} failed:\n{done.stderr}")
    seen: dict[str, Any] = json.loads(done.stdout)
    if seen.get("errors"):
        raise SystemExit(f"{scenario.name} was answered with {seen['errors'][0]}")
    calls = seen["per_second"] * seconds
    spent = cpu(stack, scenario.processes) - before
    seen["signatures_per_second"] = round(seen["per_second"] * scenario.signatures, 1)
    seen.setdefault("cpu_us", round(spent / calls * 1e6, 1))
    return seen


def cpu(stack: Stack, names: tuple[str, ...]) -> float:
    """Seconds of CPU time that these processes and their children have used."""
    return sum(_cpu_of(pid) for name in names for pid in _family(stack.pid(name)))


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks: int = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks


def memory(stack: Stack, name: str) -> float:
    """Resident memory of a process and its children, in MiB."""
    sizes = [
        int(line.split()[1])
        for pid in _family(stack.pid(name))
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    ]
    return round(sum(sizes) / 1024, 1)


def summary(name: str, rounds: list[dict[str, Any]], raw: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds; the ratio is taken within each round."""
    ratios = [
        seen["signatures_per_second"] / limit["signatures_per_second"]
        for seen, limit in zip(rounds, raw, strict=True)
    ]
    wanted = ("per_second", "signatures_per_second", "p50_ms", "p99_ms", "cpu_us", "client_cpu_us")
    known = [field for field in wanted if field in rounds[0]]
    medians = {field: round(statistics.median(s[field] for s in rounds), 3) for field in known}
    return {
        "scenario": name,
        **medians,
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "ratio_to": RAW,
    }


def run(stack: Stack, rounds: int, seconds: float) -> None:
    stack.start()
    keys = {name: stack.active_key(key_class=name) for name in ("standard", "critical", "bulk")}
    system = stack.system("bench")
    seen: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for scenario in scenarios(stack, keys, system):
            seen.setdefault(scenario.name, []).append(measure(stack, scenario, seconds))
    for name, results in seen.items():
        print(json.dumps(summary(name, results, seen[RAW])))
    resident = {name: memory(stack, name) for name in ("api", "gate", "recorder", "sealer")}
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "rss_mib": resident}
    print(json.dumps({"python": platform.python_version(), **machine}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    with Stack.make() as stack:
        run(stack, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
