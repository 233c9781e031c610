"""Full load for a long time: memory and file descriptors of every process have to stay flat.

    python -m bench.soak --minutes 30 [--every 5] > bench/soak.jsonl

32 clients at once: single signatures, batches of 100, a key that rests in the database, and
encryptions. Every minute new clients with new connections take over. Any answer that is wrong
ends it. One line whenever so many minutes have passed: what was done since, and what each process
holds: MiB resident, and open files.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measure import Scenario, family, memory
from bench.service import Http, Service
from tests.stack import Stack

PIECE = 60.0  # seconds that clients live
LOADS = (
    Http("sign", 20),
    Http("batch100", 4, 100),
    Http("wrapped", 4, key="bulk"),
    Http("encrypt", 4, key="aes", dialect="encryptions"),
)


def held(service: Service) -> dict[str, list[int]]:
    """MiB and open files of each process with its children."""
    return {
        part: [round(memory(pid)), sum(_files(one) for one in family(pid))]
        for part, pid in service.processes().items()
    }


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def piece(scenario: Scenario, seconds: float) -> dict[str, Any]:
    """One load for a while. Raises `SystemExit` for an answer that is wrong."""
    line = [*scenario.line, str(seconds)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{scenario.name} failed:\n{done.stderr}")
    seen: dict[str, Any] = json.loads(done.stdout)
    if seen["errors"]:
        raise SystemExit(f"{scenario.name} was answered with {seen['errors'][0]}")
    return seen


def soak(service: Service, minutes: float, every: float) -> Iterator[dict[str, Any]]:
    """Load the service, and tell what it holds before, between and behind."""
    scenarios, began = [service.http(http) for http in LOADS], time.monotonic()
    done = dict.fromkeys((http.name for http in LOADS), 0)
    yield {"minute": 0, "held": held(service)}
    told = 0.0
    with ThreadPoolExecutor(len(scenarios)) as pool:
        while (spent := time.monotonic() - began) < minutes * 60:
            seconds = min(PIECE, minutes * 60 - spent)
            seen = list(pool.map(lambda one: piece(one, seconds), scenarios))  # noqa: B023  (at once)
            for scenario, each in zip(scenarios, seen, strict=True):
                done[scenario.name] += each["requests"]
            minute = (time.monotonic() - began) / 60
            if minute - told >= every - 0.2 or minute >= minutes:
                p99 = max(each["p99_ms"] for each in seen)
                told = minute
                yield {"minute": round(minute, 1), "held": held(service), **done, "p99_ms": p99}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=5.0, help="minutes between two lines")
    options = parser.parse_args()
    about = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "minutes": options.minutes,
    }
    with Stack.make() as stack:
        stack.start()
        service = Service(stack, {http.key for http in LOADS})
        for line in soak(service, options.minutes, options.every):
            print(json.dumps({**about, **line}), flush=True)


if __name__ == "__main__":
    main()
