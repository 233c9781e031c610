"""The service under test: its keys, a system that may use them, and how a load of it is run."""

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bench.measure import Scenario, python
from bench.openbao import OUT
from tests.stack import Machine, Stack

RAW = "raw.c.sign_p256"
PARTS = ("api", "gate", "recorder", "sealer", "log-gate")
ACTIONS = ("key:sign", "key:verify", "key:read", "key:encrypt", "key:mac", "key:derive")
KEYS: dict[str, dict[str, str]] = {
    "standard": {},
    "critical": {"key_class": "critical"},
    "bulk": {"key_class": "bulk"},
    "rsa": {"algorithm": "RSA-2048"},
    "aes": {"algorithm": "AES-256", "usage": "encrypt"},
    "mac": {"algorithm": "AES-256", "usage": "mac"},
    "agree": {"usage": "agree"},
}
PATHS = {"rsa": "signatures", "agreements": "agreed-mac-checks"}  # of a dialect, if another


class Http(NamedTuple):
    """One load of the whole service, and the raw operation that it is compared with."""

    name: str
    clients: int
    items: int = 1  # in a request
    key: str = "standard"
    dialect: str = "signatures"
    raw: str = RAW


class Service:
    """A running service, with its keys and a system that may use them."""

    def __init__(self, stack: Stack, keys: Iterable[str] = KEYS) -> None:
        self.stack = stack
        self.keys = {name: stack.active_key(**KEYS[name]) for name in keys}
        self.system: Machine = stack.system("bench", *ACTIONS)
        for name in self.keys.keys() - {"aes", "mac"}:
            key = self.keys[name]
            path = f"/v1/keys/{key}/public-key"
            read = self.system.client().get(path, headers={"Accept": "application/x-pem-file"})
            self.public_key(key).write_bytes(read.raise_for_status().content)

    def public_key(self, key: str) -> Path:
        return self.stack.folder / f"{key}.pem"

    def processes(self) -> dict[str, int]:
        beside = [f"gate-{n}" for n in range(2, self.stack.settings.keys.workers + 1)]
        return {part: self.stack.pid(part) for part in (*PARTS, *beside)}

    def http(self, http: Http, *ratios_to: str) -> Scenario:
        key = self.keys[http.key]
        path = PATHS.get(http.dialect, http.dialect)
        line = self.load(
            *("--port", str(self.stack.settings.api.port), "--dialect", http.dialect),
            *("--path", f"/v1/keys/{key}/{path}", "--public-key", str(self.public_key(key))),
            *("--clients", str(http.clients), "--digests", str(http.items)),
        )
        return Scenario(http.name, line, http.items, self.processes(), ratios_to)

    def sign_line(
        self, port: int, clients: int, digests: int, who: Machine | None = None
    ) -> tuple[str, ...]:
        """Signatures by the standard key, from whatever listens at this port."""
        key = self.keys["standard"]
        return self.load(
            *("--port", str(port), "--path", f"/v1/keys/{key}/signatures"),
            *("--public-key", str(self.public_key(key))),
            *("--clients", str(clients), "--digests", str(digests)),
            who=who,
        )

    def load(self, *arguments: str, who: Machine | None = None) -> tuple[str, ...]:
        """The client program, as the enrolled system or another."""
        machine = who or self.system
        shown = ("--certificate", str(machine.certificate), "--key", str(machine.key))
        return python("bench.load", "--ca", str(self.stack.ca), *shown, *arguments)


def ready_after(stack: Stack) -> float:
    """Seconds from `keyvault serve` to its word that it is ready; then it is ended again."""
    line = (sys.executable, "-m", "cli", "serve", "--config", str(stack.config))
    began = time.perf_counter()
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as served:
        assert served.stdout is not None
        said = served.stdout.readline()
        seconds = time.perf_counter() - began
        served.terminate()
        words = served.communicate()[1]
    if not said.startswith("ready"):
        raise SystemExit(f"keyvault serve did not get ready:\n{words}")
    return round(seconds, 2)


def compiled(source: str, *options: str) -> Path:
    """Build a program or library in C (needs gcc and libp11-kit-dev)."""
    program = OUT / source.removesuffix(".c")
    OUT.mkdir(exist_ok=True)
    path = Path(__file__).with_name(source)
    line = ("gcc", "-O2", "-I/usr/include/p11-kit-1", str(path), "-o", str(program), *options)
    subprocess.run(line, check=True)
    return program
