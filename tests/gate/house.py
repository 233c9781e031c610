"""A house with real parts for tests of the gate: tokens, service keys, genesis, running gates."""

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from hsm.types import Algorithm, KeyUsage, Mechanism, VerifyPolicy
from keyvault import wire
from keyvault.domain.approvals import Request
from keyvault.domain.authority import Authority, Services
from keyvault.domain.canonical import Document
from keyvault.domain.chain import Record, found
from keyvault.domain.commands import ActivateKey, Command, GenerateKey
from keyvault.domain.keys import KeyClass, Residence
from keyvault.domain.people import Role
from keyvault.domain.rules import Rule
from keyvault.domain.times import text_of
from keyvault.gate import ceremony
from keyvault.gate.client import Gate
from keyvault.gate.hot import GateClient
from keyvault.settings import Settings
from keyvault.signatures import verify
from tests import devices
from tests.unit import officers
from tests.unit.officers import ALICE, BOB, BOB_TO_LOG_IN, CAROL, DAVE, ORIGIN, Officer

DEADLINE = 1.0
DIGEST = sha256(b"payload").digest()
CLASSES = (
    KeyClass("standard", Residence.RESIDENT, VerifyPolicy.ALWAYS),
    KeyClass("bulk", Residence.WRAPPED, VerifyPolicy.SAMPLED),
    KeyClass("exchange", Residence.RESIDENT, VerifyPolicy.ALWAYS, extractable=True),
    KeyClass("production", Residence.RESIDENT, VerifyPolicy.ALWAYS, module_level=1),
    KeyClass("at-home", Residence.RESIDENT, VerifyPolicy.ALWAYS, location="UK"),
    KeyClass("guarded", Residence.RESIDENT, VerifyPolicy.ALWAYS, guarded=True),
)
APPROVERS = (Role.KEY_APPROVER,)
ORDINARY = Rule("ordinary", ("*",), ("*",), APPROVERS, 2, 3600)
GRAVE = Rule("grave", ("destroy-key",), ("standard",), APPROVERS, 3, 3600)
RULES = (ORDINARY, GRAVE)
LOGIN = replace(BOB_TO_LOG_IN.joining.credential, login_only=True)


@dataclass
class House:
    """A folder with settings, tokens and a genesis record; `start` runs its gates."""

    folder: Path
    tokens: dict[str, devices.Token]
    services: Services | None = None
    records: list[Record] = field(default_factory=list)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    gates: list[Gate | wire.Client] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / "keyvault.toml"

    @property
    def settings(self) -> Settings:
        return Settings.load(self.path)

    @property
    def authority(self) -> Authority:
        return found(self.records[0], verify)

    def settle(self) -> None:
        """Hold the ceremony: service keys, then the genesis that every officer signs."""
        self.write()
        pins = [bytearray(self.tokens[name].pin) for name in ("keys", "log")]
        self.services = ceremony.hold(self.path, *pins)
        self.records = [
            officers.genesis(
                (ALICE, BOB.like(login=LOGIN), CAROL, DAVE),
                at=datetime.now(UTC).replace(microsecond=0),
                services=self.services,
                key_classes=CLASSES,
                rules=RULES,
            )
        ]
        self.write(self.records[0].hash)
        for name in self.tokens:  # what `copy` takes
            shutil.copytree(self.folder / name, self.folder / "blank" / name)

    def write(self, genesis: str = "") -> None:
        (self.folder / "pins").mkdir(exist_ok=True)
        modules = ""
        for name, token in self.tokens.items():
            pin = self.folder / "pins" / name
            pin.touch(0o600)
            pin.write_bytes(token.pin + b"\n")
            values = "".join(f"{k} = '{v}'\n" for k, v in token.environment.items())
            modules += f"""
[{name}]
uri = '''{token.uri}'''
socket = "{name}.sock"
pin = "{name}"
deadline = {DEADLINE}
level = 4
location = "FR, Paris"
[{name}.environment]
{values}"""
        self.path.write_text(f"""
site = "example"
origin = "{ORIGIN}"
node = "node-1"
database = "sqlite:///none.db"
state = "state"
genesis = "{genesis}"
recorder = "recorder.sock"
credentials = "pins"
{modules}
[api]
certificate = "none"
private_key = "none"
""")

    def start(self, name: str = "keys", **options: Any) -> subprocess.Popen[bytes]:
        """Run a gate and wait until it answers."""
        keeper = self.spawn(name, **options)
        self.wait(name)
        return keeper

    def spawn(self, name: str = "keys", *more: str, **options: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "keyvault.gate", "--settings", self.path, "--module", name]
        command += more
        keeper = subprocess.Popen(command, **{"stdin": subprocess.DEVNULL, **options})
        self.running[name] = keeper
        return keeper

    def wait(self, name: str = "keys", seconds: float = 20) -> Document:
        """Return the status once the gate gives one."""
        until = time.monotonic() + seconds
        gate = self.gate(name)
        while True:
            try:
                return gate.status()
            except Exception:
                keeper = self.running[name]
                assert keeper.poll() is None, f"the keeper left with {keeper.returncode}"
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def gate(self, name: str = "keys", **options: Any) -> Gate:
        settings = getattr(self.settings, name)
        given = {"records_from": self.records_from, "deadline": settings.deadline, **options}
        gate = Gate(settings.socket, **given)
        self.gates.append(gate)
        return gate

    def wire(self, name: str = "keys") -> wire.Client:
        """The gate as somebody sees it who writes to its socket."""
        client = wire.Client(getattr(self.settings, name).socket)
        self.gates.append(client)
        return client

    def sign(self, key_id: bytes) -> bytes:
        """One signature, by a client of its own."""

        async def once() -> bytes:
            client = GateClient(self.settings.keys.socket, deadline=DEADLINE)
            try:
                [signature] = await client.sign(key_id, Mechanism.ECDSA, [DIGEST])
            finally:
                await client.close()
            return signature

        return asyncio.run(once())

    def records_from(self, number: int) -> list[Document]:
        return [record.document() for record in self.records[number:]]

    def stop(self, name: str = "keys") -> int:
        keeper = self.running.pop(name)
        keeper.send_signal(signal.SIGTERM)
        return keeper.wait(20)

    def close(self) -> None:
        for gate in self.gates:
            gate.close()
        for name in list(self.running):
            self.stop(name)


def build(folder: Path) -> House:
    """A new house: two tokens, then the ceremony."""
    tokens = {}
    for name in ("keys", "log"):
        (folder / name).mkdir()
        tokens[name] = devices.softhsm(folder / name, name)
    house = House(folder, tokens)
    house.settle()
    return house


def copy(model: House, folder: Path) -> House:
    """A house like the model as it was before its gates first ran, in a tenth of the time."""
    tokens = {}
    for name, token in model.tokens.items():
        shutil.copytree(model.folder / "blank" / name, folder / name)
        settings = folder / name / "softhsm2.conf"
        settings.write_text(settings.read_text().replace(str(model.folder), str(folder)))
        tokens[name] = replace(token, environment={"SOFTHSM2_CONF": str(settings)})
    house = House(folder, tokens, model.services, model.records)
    house.write(model.records[0].hash)
    return house


def order(
    algorithm: Algorithm = Algorithm.EC_P256,
    usage: KeyUsage = KeyUsage.SIGN,
    key_class: str = "standard",
) -> GenerateKey:
    return GenerateKey("meter signing", algorithm, usage, key_class, 365, 730)


def ask(command: Command, rule: Rule = ORDINARY, **changes: Any) -> Request:
    """A request of now, by Alice."""
    given = {"request_id": uuid4(), "now": datetime.now(UTC), "rule": rule, **changes}
    return officers.request_for(command, **given)


def signed(
    request: Document, approvers: Iterable[Officer] = (BOB, CAROL), **changes: Any
) -> list[Document]:
    at = text_of(datetime.now(UTC))
    return [each.decides(request, **{"at": at, **changes}).document() for each in approvers]


def do(gate: Gate, command: Command, *approvers: Officer, **changes: Any) -> Document:
    """Ask, approve and execute."""
    request = ask(command, **changes).document
    return gate.execute(request, signed(request, approvers or (BOB, CAROL)))


def active(gate: Gate, command: Command | None = None) -> Document:
    """Order a key and activate it, as both are asked for at the gate; what its making told."""
    made = do(gate, command or order())
    do(gate, ActivateKey(UUID(bytes=made["key_id"]), "it is time"))
    return made


def delegation(officer: Officer, spki: str, hours: int = 8, **changes: Any) -> Document:
    now = datetime.now(UTC)
    return {
        "ctx": "keyvault-login-v1",
        "origin": ORIGIN,
        "person": officer.id,
        "credential": officer.decides({}).credential,
        "session_spki": spki,
        "challenge": "1:" + "ab" * 32,
        "issued_at": text_of(now),
        "not_after": text_of(now + timedelta(hours=hours)),
        **changes,
    }


def worker_of(keeper: subprocess.Popen[bytes]) -> int:
    """The pid of the keeper's worker."""
    children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()
    assert len(children) == 1, children
    return int(children[0])
