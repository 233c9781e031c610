"""From an order to a key that works, in rounds: ours, PyKMIP's, Barbican's; one caller each.

    python -m bench.orders [--rounds 5] > bench/orders.jsonl

Ours is a whole life up to there: order, two approvals, execution, activation, two approvals,
execution, each signed or authenticated, judged, and in the log before its answer. `order.machine`
counts only what the service does once people have decided: the two orders and the two executions.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from http.client import HTTPConnection
from typing import Any

from bench import others
from bench.kmip_client import summary
from bench.measure import Scenario, Seen, cpu, measure, memory
from bench.measure import summary as medians
from bench.service import PARTS
from tests.stack import Stack, ok

WHOLE, MACHINE = "http.order.whole.c1", "http.order.machine.c1"
KMIP, BARBICAN = "peer.pykmip.create_activate.c1", "peer.barbican.order.c1"


class Clock:
    """Sums up what is timed, and leaves out what people do in between."""

    def __init__(self) -> None:
        self.spent = self.used = 0.0

    def __call__(self, act: Callable[[], Any]) -> Any:
        began, used = time.perf_counter(), time.process_time()
        try:
            return act()
        finally:
            self.spent += time.perf_counter() - began
            self.used += time.process_time() - used


def one(stack: Stack, machine: Clock) -> None:
    """One key, from its order until it is active."""
    alice = stack.person("alice").client()

    def execute(request: dict[str, Any]) -> dict[str, Any]:
        return ok(alice.post(f"/v1/requests/{request['id']}/executions"))

    terms = {"algorithm": "AES-256", "usage": "encrypt", "key_class": "bulk"}
    ordered = machine(lambda: stack.order(**terms))
    stack.approve(ordered, "bob", "carol")
    key = machine(lambda: execute(ordered))["outcome"]["key"]
    body = {"reason": "for a bench"}
    asked = machine(lambda: ok(alice.post(f"/v1/keys/{key}/activations", json=body)))
    stack.approve(asked, "bob", "carol")
    machine(lambda: execute(asked))


def ours(stack: Stack, seconds: float) -> tuple[Seen, Seen]:
    """Keys one after another for a while: the whole, and the machine's part of it."""
    whole, machine, times, parts = Clock(), Clock(), [], []
    before = {part: cpu(stack.pid(part)) for part in PARTS}
    while whole.spent < seconds:
        start = whole.spent, machine.spent
        whole(lambda: one(stack, machine))
        times.append(whole.spent - start[0])
        parts.append(machine.spent - start[1])
    used = {part: (cpu(stack.pid(part)) - before[part]) / len(times) * 1e6 for part in PARTS}
    seen = _seen(summary(times, whole.spent, whole.used))
    held = sum(memory(stack.pid(part)) for part in PARTS)
    seen |= {"cpu_us_of": used, "cpu_us": sum(used.values()), "rss_mib": held}
    return seen, _seen(summary(parts, machine.spent, machine.used))


def barbican(peer: others.Peer, seconds: float) -> Seen:
    """Orders one after another, over one connection."""
    line, times, before = HTTPConnection("127.0.0.1", peer.port), [], cpu(peer.pid)
    began, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        asked = time.perf_counter()
        others.order(line)
        times.append(time.perf_counter() - asked)
    spent, used = time.perf_counter() - began, time.process_time() - used
    line.close()
    busy = (cpu(peer.pid) - before) / len(times) * 1e6
    return {**_seen(summary(times, spent, used)), "cpu_us": busy, "rss_mib": memory(peer.pid)}


def _seen(told: dict[str, float]) -> Seen:
    rate = told.pop("per_second")
    return {**told, "ops_per_s": rate, "requests_per_s": rate}


def run(rounds: int, seconds: float) -> list[Seen]:
    with ExitStack() as running:
        stack = running.enter_context(Stack.make())
        stack.start()
        kmip = running.enter_context(others.pykmip())
        barb = running.enter_context(others.barbican())
        create = Scenario(KMIP, others.kmip_line(kmip), 1, {"pykmip": kmip.pid})
        ours(stack, 0.5)  # people log in, and everybody loads what they need
        barbican(barb, 0.5)
        seen: dict[str, list[Seen]] = {name: [] for name in (KMIP, BARBICAN, WHOLE, MACHINE)}
        for _ in range(rounds):
            seen[KMIP].append(measure(create, seconds, {}))
            seen[BARBICAN].append(barbican(barb, seconds))
            whole, machine = ours(stack, seconds)
            seen[WHOLE].append(whole)
            seen[MACHINE].append(machine)
        rows = (
            *(Scenario(name, ()) for name in (KMIP, BARBICAN)),
            *(Scenario(name, (), ratios_to=(KMIP, BARBICAN)) for name in (WHOLE, MACHINE)),
        )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        at = {"at": now, "load_average": os.getloadavg()[0]}
        return [{**at, **line} for row in rows for line in medians(row, seen)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.orders", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    for line in run(options.rounds, options.seconds):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
