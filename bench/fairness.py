"""One client's flood beside a quiet client, at one api process: what the flood costs the quiet one.

    python -m bench.fairness [--rounds 3] > bench/fairness.jsonl

The quiet client has four connections that either keep a pace below what the service can do, or
ask without end as the flood's thirty do. It is measured alone and beside floods of single digests
and of batches, in turns; each line compares a round beside a flood with the same round alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from bench.measure import Scenario, Seen, measure, summary
from bench.service import ACTIONS, Service
from tests.stack import Stack

QUIET, FLOOD = 4, 30  # connections
PACE = 0.05  # seconds from a call of a paced connection to its next
SETTLE = 0.5  # seconds until both are connected and known to the service
BEFORE, AFTER = 0.8, 0.8  # seconds that a flood begins earlier and ends later
MANNERS = {"paced": ("--pace", str(PACE)), "greedy": ()}
DIGESTS = (0, 1, 100)  # in a call of the flood; 0 is none


class Clients:
    """Two systems that may use the same key."""

    def __init__(self, stack: Stack) -> None:
        self._service = Service(stack, ["standard"])
        self._wild = stack.system("wild", *ACTIONS)
        self._port = stack.settings.api.port

    def quiet(self, manner: str, digests: int) -> Scenario:
        """The quiet client's load, beside a flood of calls with so many digests."""
        alone = f"fair.{manner}"
        line = self._service.sign_line(self._port, QUIET, 1)
        name = f"{alone}.flood{digests}" if digests else alone
        line = (*line[:-1], *MANNERS[manner], "--settle", str(SETTLE), line[-1])
        return Scenario(name, line, ratios_to=(alone,) if digests else ())

    def beside(self, digests: int, scenario: Scenario, seconds: float) -> Seen:
        """Measure while the other client asks as fast as it can."""
        if not digests:
            return {**measure(scenario, seconds, {}), "flood": 0.0}
        line = self._service.sign_line(self._port, FLOOD, digests, self._wild)
        line = (*line, str(BEFORE + SETTLE + seconds + AFTER))
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as flood:
            time.sleep(BEFORE)
            seen = measure(scenario, seconds, {})
            flooded = json.loads(flood.communicate()[0])
        if flooded["errors"]:
            raise SystemExit(f"the flood was answered with {flooded['errors'][0]}")
        return {**seen, "flood": flooded["per_second"] * digests}


def run(clients: Clients, rounds: int, seconds: float) -> Iterator[Seen]:
    loads = [(clients.quiet(manner, each), each) for manner in MANNERS for each in DIGESTS]
    seen: dict[str, list[Seen]] = {one.name: [] for one, _ in loads}
    for _ in range(rounds):
        for one, digests in loads:
            seen[one.name].append(clients.beside(digests, one, seconds))
    for one, _ in loads:
        flood = statistics.median(each["flood"] for each in seen[one.name])
        yield from ({**line, "flood_per_s": round(flood, 1)} for line in summary(one, seen))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    with Stack.make() as stack:
        stack.start()
        for line in run(Clients(stack), options.rounds, options.seconds):
            at = datetime.now(UTC).isoformat(timespec="seconds")
            print(json.dumps({"at": at, "cores": os.cpu_count(), **line}))


if __name__ == "__main__":
    main()
