"""How a scenario is measured: its program, the CPU time of whom it loads, medians over rounds."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Seen = dict[str, Any]
_MEDIANS = ("ops_per_s", "requests_per_s", "p50_ms", "p99_ms", "cpu_us", "client_cpu_us", "rss_mib")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A program that loads something for a while and prints what it saw.

    `processes` are those whose CPU time is counted, with their children; `ratios_to` the
    scenarios that this one is compared with, round by round.
    """

    name: str
    line: tuple[str, ...]
    signatures: int = 1  # in one request
    processes: Mapping[str, int] = field(default_factory=dict)
    ratios_to: tuple[str, ...] = ()
    given: Path | None = None  # what the program reads


def measure(scenario: Scenario, seconds: float, environment: Mapping[str, str]) -> Seen:
    """Run one scenario once. CPU times are in µs a request."""
    before = {name: cpu(pid) for name, pid in scenario.processes.items()}
    done = subprocess.run(
        [*scenario.line, str(seconds)],
        input=scenario.given.read_text() if scenario.given else "",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise SystemExit(f"{scenario.name} failed:\n{done.stderr}")
    seen: Seen = json.loads(done.stdout)
    if seen.get("errors"):
        raise SystemExit(f"{scenario.name} was answered with {seen['errors'][0]}")
    requests = seen.get("requests", seen["per_second"] * seconds)
    spent = {name: cpu(pid) - before[name] for name, pid in scenario.processes.items()}
    if spent:
        seen["cpu_us_of"] = {name: each / requests * 1e6 for name, each in spent.items()}
        seen["cpu_us"] = sum(seen["cpu_us_of"].values())
        seen["rss_mib"] = sum(memory(pid) for pid in scenario.processes.values())
    seen["requests_per_s"] = seen.pop("per_second")
    seen["ops_per_s"] = seen["requests_per_s"] * scenario.signatures
    return seen


def cpu(pid: int) -> float:
    """Seconds of CPU time that a process and its children have used."""
    return sum(_cpu_of(one) for one in family(pid))


def memory(pid: int) -> float:
    """Resident memory of a process and its children, in MiB."""
    sizes = [
        int(line.split()[1])
        for one in family(pid)
        for line in Path(f"/proc/{one}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    ]
    return sum(sizes) / 1024


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def _cpu_of(pid: int) -> float:
    """All threads' time, in the ns that the scheduler counts, or those of threads that have ended.

    These are in /proc/PID/stat alone, which has ticks of 10 ms.
    """
    tasks = Path(f"/proc/{pid}/task").iterdir()
    living = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return max(living, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """A program of this package; the seconds come last."""
    return (sys.executable, "-m", module, *arguments, "--seconds")


def summary(scenario: Scenario, seen: Mapping[str, list[Seen]]) -> list[Seen]:
    """One line for each comparison, or one without: medians, and of the ratios their range."""
    rounds = seen[scenario.name]
    medians: Seen = {"scenario": scenario.name, "rounds": len(rounds)}
    for name in _MEDIANS:
        if name in rounds[0]:
            medians[name] = round(statistics.median(one[name] for one in rounds), 3)
    if "cpu_us_of" in rounds[0]:
        medians["cpu_us_of"] = {
            name: round(statistics.median(one["cpu_us_of"][name] for one in rounds))
            for name in rounds[0]["cpu_us_of"]
        }
    others = [other for other in scenario.ratios_to if other in seen]
    return [{**medians, **_compared(rounds, other, seen[other])} for other in others] or [medians]


def _compared(rounds: list[Seen], name: str, others: list[Seen]) -> Seen:
    pairs = list(zip(rounds, others, strict=True))
    ratios = sorted(one["ops_per_s"] / other["ops_per_s"] for one, other in pairs)
    compared: Seen = {
        "ratio_to": name,
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(ratios[0], 3), round(ratios[-1], 3)],
    }
    for field_, ratio in (("p99_ms", "p99_ratio"), ("cpu_us", "cpu_ratio")):
        if field_ in rounds[0] and field_ in others[0]:
            each = [one[field_] / other[field_] for one, other in pairs]
            compared[ratio] = round(statistics.median(each), 3)
    return compared
