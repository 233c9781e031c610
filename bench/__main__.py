"""Measure side by side, in rounds: raw calls of the module, our parts, the whole service, a peer.

Each line of output is one scenario and what it is compared with: medians over the rounds, ratios
within each round. Absolute figures say something about this machine only.
"""

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measure import Scenario, Seen, measure, python, summary
from bench.openbao import WORK, OpenBao
from tests.stack import Machine, Stack

RAW = "raw.c.sign_p256"
PEER = "peer.openbao.sign.file"
PARTS = ("api", "gate", "recorder", "sealer", "log-gate")
HTTP = (  # name, clients, digests in a request, class of the key
    ("http.sign.audit.c1", 1, 1, "standard"),
    ("http.sign.audit.c32", 32, 1, "standard"),
    ("http.sign.audit.verified.c32", 32, 1, "critical"),
    ("http.sign.audit.wrapped.c32", 32, 1, "bulk"),
    ("http.sign.batch100.c8", 8, 100, "standard"),
)
PEERS = ((f"{PEER}.c1", 1, 1), (f"{PEER}.c32", 32, 1), (f"{PEER}.batch100.c8", 8, 100))


class Bench:
    """The service under test, with its keys and a system that may use them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        stack.start()
        classes = sorted({key_class for *_, key_class in HTTP})
        self.keys = {name: stack.active_key(key_class=name) for name in classes}
        self.system: Machine = stack.system("bench")
        for key in self.keys.values():
            path = f"/v1/keys/{key}/public-key"
            read = self.system.client().get(path, headers={"Accept": "application/x-pem-file"})
            self.public_key(key).write_bytes(read.raise_for_status().content)

    def public_key(self, key: str) -> Path:
        return self.stack.folder / f"{key}.pem"

    def scenarios(self, bao: OpenBao | None) -> Iterator[Scenario]:
        """Everything that is measured, in the order of one round."""
        yield from self._raw()
        yield from self._parts()
        peers = {} if bao is None else {s.name: s for s in self._peer(bao)}
        for name, clients, digests, key_class in HTTP:
            twin = name.replace("http.sign.audit", PEER).replace("http.sign", PEER)
            if twin in peers:  # side by side
                yield peers[twin]
            key = self.keys[key_class]
            yield Scenario(
                name,
                self._load(
                    *("--port", str(self.stack.settings.api.port)),
                    *("--path", f"/v1/keys/{key}/signatures"),
                    *("--public-key", str(self.public_key(key))),
                    *("--clients", str(clients), "--digests", str(digests)),
                ),
                digests,
                {part: self.stack.pid(part) for part in PARTS},
                (twin, RAW) if twin in peers else (RAW,),
            )

    def _raw(self) -> Iterator[Scenario]:
        settings = self.stack.settings
        token = settings.keys.uri.partition("token=")[2].partition(";")[0]
        module = settings.keys.uri.partition("module-path=")[2]
        pin = settings.credentials / settings.keys.pin  # type: ignore[operator]
        yield Scenario(RAW, (str(compiled()), module, token), given=pin)
        given = ("--module", module, "--token", token, "--pin-file", str(pin))
        yield Scenario("raw.py.sign_p256", python("bench.raw", *given), ratios_to=(RAW,))

    def _parts(self) -> Iterator[Scenario]:
        config = ("--config", str(self.stack.config), "--key", self.keys["standard"])
        for part, name, more, signatures in (
            ("gate", "gate.sign.c1", (), 1),
            ("gate", "gate.sign.c32", ("--callers", "32"), 1),
            ("gate", "gate.sign.batch100", ("--digests", "100"), 100),
            ("recorder", "recorder.append.c32", ("--callers", "32"), 1),
            ("recorder", "recorder.append.c256", ("--callers", "256"), 1),
        ):
            line = python("bench.parts", part, *config, *more)
            to = (RAW,) if part == "gate" else ()
            yield Scenario(name, line, signatures, {part: self.stack.pid(part)}, to)

    def _peer(self, bao: OpenBao) -> Iterator[Scenario]:
        for name, clients, digests in PEERS:
            line = self._load(
                *("--dialect", "openbao", "--port", str(bao.port)),
                *("--path", "/v1/transit/sign/bench", "--token", str(bao.token)),
                *("--public-key", str(bao.public_key)),
                *("--clients", str(clients), "--digests", str(digests)),
            )
            yield Scenario(name, line, digests, {"bao": bao.pid}, (RAW,))

    def _load(self, *arguments: str) -> tuple[str, ...]:
        who = ("--certificate", str(self.system.certificate), "--key", str(self.system.key))
        return python("bench.load", "--ca", str(self.stack.ca), *who, *arguments)


def compiled() -> Path:
    """Build the program in C (needs gcc and libp11-kit-dev)."""
    program = WORK / "raw"
    WORK.mkdir(exist_ok=True)
    source = Path(__file__).with_name("raw.c")
    line = ("gcc", "-O2", "-I/usr/include/p11-kit-1", str(source), "-o", str(program), "-ldl")
    subprocess.run(line, check=True)
    return program


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
        bench = Bench(running.enter_context(Stack.make()))
        api, system = bench.stack.settings.api, bench.system
        bao = None
        if options.peers:
            ours = (api.certificate, api.private_key), (system.certificate, system.key)
            bao = running.enter_context(OpenBao(*ours))
        scenarios = [s for s in bench.scenarios(bao) if options.only in s.name or s.name == RAW]
        environment: dict[str, Any] = bench.stack.settings.keys.environment
        seen: dict[str, list[Seen]] = {s.name: [] for s in scenarios}
        for _ in range(options.rounds):
            for scenario in scenarios:
                seen[scenario.name].append(measure(scenario, options.seconds, environment))
        lines = [line for scenario in scenarios for line in summary(scenario, seen)]
        return [*lines, machine(bench.stack, bao)]


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
