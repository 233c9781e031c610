"""Measure side by side, in rounds: raw calls of the module, our parts, the whole service, a peer.

Each line of output is one scenario and what it is compared with: medians over the rounds, ratios
within each round. Absolute figures say something about this machine only.
"""

import argparse
import json
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

from bench.measure import Scenario, Seen, measure, memory, python, summary
from bench.openbao import OpenBao
from bench.service import PARTS, RAW, Http, Service, compiled, ready_after
from tests.stack import Stack

APPENDS = "raw.sqlite.append.x256"
PEER = "peer.openbao.sign.file"

HTTP = (
    Http("http.sign.audit.c1", 1),
    Http("http.sign.audit.c32", 32),
    Http("http.sign.audit.verified.c32", 32, key="critical"),
    Http("http.sign.audit.wrapped.c32", 32, key="bulk"),
    Http("http.sign.batch100.c8", 8, 100),
    Http("http.rsa2048.c32", 32, 1, "rsa", "rsa", "raw.c.sign_rsa2048"),
    Http("http.rsa2048.batch100.c8", 8, 100, "rsa", "rsa", "raw.c.sign_rsa2048"),
    Http("http.encrypt_1k.c32", 32, 1, "aes", "encryptions", "raw.c.gcm_1k"),
    Http("http.encrypt_1k.batch100.c8", 8, 100, "aes", "encryptions", "raw.c.gcm_1k"),
    Http("http.agreed_mac.c32", 32, 1, "agree", "agreements", "raw.c.ecdh_p256"),
    Http("http.cmac_1k.c32", 32, 1, "mac", "macs", "raw.c.cmac_1k"),
    Http("http.cmac_1k.batch100.c8", 8, 100, "mac", "macs", "raw.c.cmac_1k"),
)
GATES2 = Http("http.sign.batch100.gates2.c8", 8, 100)
SLOW = Http("http.sign.audit.slowflush2ms.c32", 32, raw="http.sign.audit.c32")
RAWS = ("sign_p256", "sign_rsa2048", "gcm_1k", "cmac_1k", "ecdh_p256")
PEERS = ((f"{PEER}.c1", 1, 1), (f"{PEER}.c32", 32, 1), (f"{PEER}.batch100.c8", 8, 100))


class Bench(Service):
    """All scenarios of one service."""

    def scenarios(self, bao: OpenBao | None) -> Iterator[Scenario]:
        """Everything that is measured with this service, in the order of one round."""
        yield from self._raw()
        yield from self._parts()
        peers = {} if bao is None else {s.name: s for s in self._peer(bao)}
        for http in HTTP:
            twin = http.name.replace("http.sign.audit", PEER).replace("http.sign", PEER)
            if twin in peers:  # side by side
                yield peers[twin]
            yield self.http(http, *([twin] if twin in peers else []), http.raw)

    def _raw(self) -> Iterator[Scenario]:
        settings = self.stack.settings
        token = settings.keys.uri.partition("token=")[2].partition(";")[0]
        module = settings.keys.uri.partition("module-path=")[2]
        pin = settings.credentials / settings.keys.pin  # type: ignore[operator]
        program = str(compiled("raw.c", "-ldl"))
        for name in RAWS:
            yield Scenario(f"raw.c.{name}", (program, module, token, name), given=pin)
        given = ("--module", module, "--token", token, "--pin-file", str(pin))
        yield Scenario("raw.py.sign_p256", python("bench.raw", *given), ratios_to=(RAW,))
        yield Scenario(APPENDS, python("bench.rawlog"))

    def _parts(self) -> Iterator[Scenario]:
        config = ("--config", str(self.stack.config), "--key", self.keys["standard"])
        for part, name, more, signatures, to in (
            ("gate", "gate.sign.c1", (), 1, (RAW,)),
            ("gate", "gate.sign.c32", ("--callers", "32"), 1, (RAW,)),
            ("gate", "gate.sign.batch100", ("--digests", "100"), 100, (RAW,)),
            ("recorder", "recorder.append.c32", ("--callers", "32"), 1, ()),
            ("recorder", "recorder.append.c256", ("--callers", "256"), 1, (APPENDS,)),
        ):
            line = python("bench.parts", part, *config, *more)
            yield Scenario(name, line, signatures, {part: self.stack.pid(part)}, to)

    def _peer(self, bao: OpenBao) -> Iterator[Scenario]:
        for name, clients, digests in PEERS:
            line = self.load(
                *("--dialect", "openbao", "--port", str(bao.port)),
                *("--path", "/v1/transit/sign/bench", "--token", str(bao.token)),
                *("--public-key", str(bao.public_key)),
                *("--clients", str(clients), "--digests", str(digests)),
            )
            yield Scenario(name, line, digests, {"bao": bao.pid}, (RAW,))


def started(stack: Stack) -> Seen:
    """Start the service; say how long that takes, and what each process holds then."""
    ready = ready_after(stack)
    stack.start()
    return {"ready_s": ready, "idle_mib_of": {p: round(memory(stack.pid(p))) for p in PARTS}}


def with_two_gates(stack: Stack) -> Bench:
    """The service once more, whose key is used by two gates of one token."""
    text = stack.config.read_text()
    stack.config.write_text(text.replace("[keys]\n", "[keys]\nworkers = 2\n"))
    stack.configure()
    stack.start()
    return Bench(stack, ["standard"])


def on_a_slow_disk(stack: Stack) -> Bench:
    """The service once more, on a disk whose flush takes 2 ms longer."""
    stack.start("gate", "log-gate")
    library = str(compiled("slowflush.c", "-shared", "-fPIC", "-ldl"))
    with mock.patch.dict(os.environ, LD_PRELOAD=library):
        stack.start("recorder")
    stack.start("sealer", "api")
    return Bench(stack, ["standard"])


def machine(stack: Stack, bao: OpenBao | None) -> Seen:
    """Where and with what this was measured."""
    model = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    return {
        "scenario": "machine",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "peer": bao.version() if bao else None,
        "database": stack.settings.database.partition(":")[0],
        "load_average": os.getloadavg(),
    }


def run(options: argparse.Namespace) -> list[Seen]:
    """Measure everything and return the lines of the result."""
    with ExitStack() as running:
        stack = running.enter_context(Stack.make())
        start, bench = started(stack), Bench(stack)
        api, system = stack.settings.api, bench.system
        bao = None
        if options.peers:
            ours = (api.certificate, api.private_key), (system.certificate, system.key)
            bao = running.enter_context(OpenBao(*ours))
        scenarios = [s for s in bench.scenarios(bao) if options.only in s.name or s.name == RAW]
        if options.only in GATES2.name:
            two, twin = with_two_gates(running.enter_context(Stack.make())), f"{PEER}.batch100.c8"
            scenarios.append(two.http(GATES2, twin, "http.sign.batch100.c8", GATES2.raw))
        if options.only in SLOW.name:
            slow = on_a_slow_disk(running.enter_context(Stack.make()))
            scenarios.append(slow.http(SLOW, SLOW.raw))
        environment: dict[str, Any] = stack.settings.keys.environment
        seen: dict[str, list[Seen]] = {s.name: [] for s in scenarios}
        for _ in range(options.rounds):
            for scenario in scenarios:
                seen[scenario.name].append(measure(scenario, options.seconds, environment))
        lines = [line for scenario in scenarios for line in summary(scenario, seen)]
        return [*lines, {**machine(stack, bao), **start}]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--peers", action="store_true", help="OpenBao too, side by side")
    parser.add_argument("--only", default="", help="scenarios with this in their name")
    parser.add_argument("--append", type=Path, help="a file for the lines, too")
    options = parser.parse_args()
    lines = [json.dumps(line) for line in run(options)]
    print("\n".join(lines))
    if options.append:
        with options.append.open("a") as results:
            results.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
