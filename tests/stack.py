"""The whole service in a throw-away folder, made of the real parts.

Two SoftHSM tokens, a genesis by three officers through the same ceremony as `keyvault init`,
gates, recorder, sealer and API as processes, and people and systems who call over mutual TLS.

    with Stack.make() as stack:                  # or Stack.make(database_url)
        stack.start()
        key = stack.active_key()
        system = stack.system("dcc-1")
        system.client().post(f"/v1/keys/{key}/signatures", json={"digest": ...})
"""

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from contextlib import ExitStack, redirect_stderr
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from cli.desk.signing import KeyFile
from cli.local.ceremony import Plan, hold
from cli.local.officers import Officer
from cli.passphrases import Secrets
from keyvault.domain.commands import Command, EnrolSystem
from keyvault.domain.people import (
    Role,
)
from keyvault.domain.times import text_of
from keyvault.operations.genesis import officer_roles
from keyvault.settings import Settings
from keyvault.signatures import SoftwareCredential
from keyvault.supervisor import services
from tests.callers import Document, Machine, Someone, in_days, joiner, ok, self_signed
from tests.devices import PIN, Token, nss

__all__ = [  # what tests find here, wherever it is made
    "OFFICERS",
    "PASSPHRASE",
    "ROOT",
    "SCOPE",
    "SYSTEM_ACTIONS",
    "Document",
    "Machine",
    "SoftwareCredential",
    "Someone",
    "Stack",
    "free_port",
    "in_days",
    "joiner",
    "ok",
    "self_signed",
]

ROOT = Path(__file__).parents[1]
TOKENS = ("keys", "log")
OFFICERS = ("alice", "bob", "carol")
PASSPHRASE = b"passphrase of a test"
SCOPE = {"party": "ACME", "user_role": "IS", "user_id": "90-B3-D5-1F-30-01-00-00"}
SYSTEM_ACTIONS = ("key:sign", "key:verify", "key:read", "random:read")
READY_LIMIT = 90.0  # seconds until a process has to be ready, on a machine with much else to do


class Stack:
    """A service, its folder, its processes and the people who use it."""

    def __init__(self, folder: Path, config: Path, people: dict[str, SoftwareCredential]) -> None:
        self.folder = folder
        self.config = config
        self.settings = Settings.load(config)
        self._services = {s.name: s for s in services(self.settings, config)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._people = {name: Someone(self, name, key) for name, key in people.items()}
        self._exit = ExitStack()

    @classmethod
    def make(cls, database: str = "sqlite:///keyvault.db", module: str = "softhsm") -> Self:
        """Hold the ceremony in a new folder. Nothing runs yet. `module` is softhsm or softokn."""
        folder = Path(tempfile.mkdtemp(prefix="kv-"))  # short: a socket's path has 107 bytes
        people = {n: SoftwareCredential.create(folder / f"{n}.key", PASSPHRASE) for n in OFFICERS}
        officers = [
            Officer(joiner(name, one, *officer_roles(place)), KeyFile(folder / f"{name}.key"))
            for place, (name, one) in enumerate(people.items())
        ]
        tokens = [_nss(folder, name) for name in TOKENS] if module == "softokn" else []
        plan = Plan(
            folder=folder / "service",
            site="keyvault.test",
            origin=None,
            officers=officers,
            hosts=("localhost", "127.0.0.1"),
            listen=("127.0.0.1", free_port()),
            database=database,
            module="softhsm2",
            uris=(tokens[0].uri, tokens[1].uri) if tokens else (None, None),
            environment=tokens[0].environment if tokens else {},
        )
        passphrases = Secrets(_lines(PASSPHRASE, len(people)))
        with redirect_stderr(StringIO()):  # what officers read at the ceremony
            pins = Secrets(_lines(PIN, len(tokens)) if tokens else None)
            made = hold(plan, pins, passphrases, yes=True)
        for name in TOKENS[: len(tokens)]:
            _keep_pin(Path(made["config"]), name)
        return cls(folder, Path(made["config"]), people)

    def configure(self, top: str = "", tables: str = "") -> None:
        """Add lines to the settings, before all tables and behind them. Nothing may run yet."""
        self.config.write_text(f"{top}\n{self.config.read_text()}\n{tables}\n")
        self.settings = Settings.load(self.config)
        self._services = {s.name: s for s in services(self.settings, self.config)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._exit.close()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(20)
        shutil.rmtree(self.folder)

    # Processes

    def start(self, *names: str) -> None:
        """Start these processes, each once the one before it is ready.

        Default: all but the clerk, whose turn a test takes itself when it wants one.
        """
        for name in names or [each for each in self._services if each != "clerk"]:
            service = self._services[name]
            with (self.folder / f"{name}.log").open("ab") as log:
                process = subprocess.Popen(service.line, stdout=log, stderr=log, cwd=ROOT)
            self._processes[name] = process
            until = time.monotonic() + READY_LIMIT
            while not service.ready():
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{name} did not start:\n{self.log(name)}")
                time.sleep(0.02)

    def stop(self, name: str) -> int:
        """End a process gracefully and return its exit status."""
        process = self._processes.pop(name)
        process.terminate()
        return process.wait(20)

    def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        process = self._processes.pop(name)
        process.kill()
        process.wait(20)

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def log(self, name: str) -> str:
        """What a process wrote."""
        return (self.folder / f"{name}.log").read_text()

    # Clients

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.settings.api.port}"

    @property
    def ca(self) -> Path:
        return self.settings.api.certificate

    def client(self, certificate: Path | None = None, key: Path | None = None) -> httpx.Client:
        """An HTTP client, with a client certificate if one is given; closed with the stack."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if certificate:
            context.load_cert_chain(certificate, key)
        client = httpx.Client(base_url=self.url, verify=context, timeout=30, trust_env=False)
        return self._exit.enter_context(client)

    def person(self, name: str) -> "Someone":
        return self._people[name]

    # What people do together

    def approve(self, request: Document, *names: str) -> Document:
        """Let these people approve, and return the request as it stands then."""
        for name in names:
            request = ok(self.person(name).decide(request))
        return request

    def carry_out(self, request: Document, *, by: str = "alice") -> Document:
        """Approve as two others than its requester, and execute."""
        others = [name for name in OFFICERS if name != request["requester"]][:2]
        self.approve(request, *others)
        return ok(self.person(by).client().post(f"/v1/requests/{request['id']}/executions"))

    def ask(
        self, command: Command, scope: Document | None = None, *, by: str = "alice", **more: object
    ) -> Document:
        """Ask for any command; nothing is approved yet."""
        body = {"command": command.name, "parameters": command.parameters(), "scope": scope, **more}
        return ok(self.person(by).client().post("/v1/requests", json=body))

    def order(self, **terms: object) -> Document:
        """Order a key as alice; the request is not approved yet."""
        body = {
            "scope": SCOPE,
            "label": "a key of a test",
            "algorithm": "EC-P256",
            "usage": "sign",
            "key_class": "standard",
            "protect_days": 365,
            "process_days": 730,
            **terms,
        }
        return ok(self.person("alice").client().post("/v1/keys", json=body))

    def order_key(self, **terms: object) -> str:
        """Order, approve and generate a key; return its id. It is pre-active."""
        outcome: Document = self.carry_out(self.order(**terms))["outcome"]
        return str(outcome["key"])

    def change(self, key: str, what: str, **more: object) -> Document:
        """Ask for a change such as "activations", approve it and execute it."""
        body = {"reason": "for a test", **more}
        return self.carry_out(
            ok(self.person("alice").client().post(f"/v1/keys/{key}/{what}", json=body))
        )

    def active_key(self, **terms: object) -> str:
        """Order, generate and activate a key; return its id."""
        key = self.order_key(**terms)
        self.change(key, "activations")
        return key

    def register(self, name: str, *roles: str) -> "Someone":
        """Register one more person with these roles, who acknowledges their duties."""
        credential = SoftwareCredential.create(self.folder / f"{name}.key", PASSPHRASE)
        self.carry_out(self.ask(joiner(name, credential, *map(Role, roles))))
        person = self.newcomer(name, credential)
        person.acknowledge()
        return person

    def newcomer(self, name: str, credential: SoftwareCredential) -> "Someone":
        """Whoever was registered in another way; their rights lie dormant until they do."""
        self._people[name] = Someone(self, name, credential)
        return self._people[name]

    def system(
        self,
        name: str,
        *actions: str,
        scope: Document | None = None,
        keys: tuple[str, ...] = ("*",),
    ) -> "Machine":
        """Enrol a system's new certificate and return the system."""
        machine = Machine(self, name)
        own = machine.der
        rights = (tuple(actions or SYSTEM_ACTIONS), keys)
        wanted = EnrolSystem(name, f"system {name}", own, own, *rights, text_of(in_days(30)))
        self.carry_out(self.ask(wanted, scope or SCOPE))
        return machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _nss(folder: Path, name: str) -> Token:
    """An NSS database of its own for one of the service's tokens."""
    place = folder / name
    place.mkdir()
    return nss(place)


def _keep_pin(config: Path, name: str) -> None:
    """Put a token's PIN where its gate finds it, as `keyvault init` does with those it makes."""
    pin = config.parent / "credentials" / f"{name}.pin"
    pin.touch(0o600)
    pin.write_bytes(PIN + b"\n")
    before = f"[{name}]\n"
    head, _, own = config.read_text().partition(before)
    own = own.replace('pin = ""', f'pin = "{name}.pin"', 1)
    config.write_text(f"{head}{before}{own}")


def _lines(secret: bytes, times: int) -> int:
    """A descriptor that holds a secret so many times, a line each."""
    reading, writing = os.pipe()
    os.write(writing, (secret + b"\n") * times)
    os.close(writing)
    return reading
