"""Real PKCS#11 tokens for tests: SoftHSM, the same behind p11-kit's socket, NSS softokn, and a
SoftHSM behind the fault shim. Nothing outside the folder that is given is touched.

Use from any test:
    token = softhsm(tmp_path)              # a Token: uri, pin, environment
    monkeypatch.setenv(...) for each of token.environment, or pass it to a child process
    device = open_device(token.uri, token.pin)
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

from hsm.modules import module_of
from hsm.registry import initialise_token
from hsm.uri import Pkcs11Uri, parse

HERE = Path(__file__).parent
SOFTHSM = module_of(Pkcs11Uri(module_name="softhsm2"))
P11KIT = module_of(Pkcs11Uri(module_name="p11-kit-client"))
NSS = module_of(Pkcs11Uri(module_name="softokn3"))
PIN, SO_PIN = b"user-pin-of-a-test", b"so-pin-of-a-test"


@dataclass(frozen=True)
class Token:
    uri: str
    pin: bytes
    environment: dict[str, str]


def softhsm(folder: Path, label: str = "test", module: str = SOFTHSM) -> Token:
    """A fresh SoftHSM token under `folder`; call it again with another label for a second one."""
    tokens, configuration = folder / "tokens", folder / "softhsm2.conf"
    tokens.mkdir(exist_ok=True)
    template = HERE.parent / "softhsm-config" / "softhsm2.conf.template"
    configuration.write_text(template.read_text().replace("@TOKENS@", str(tokens)))
    environment = {"SOFTHSM2_CONF": str(configuration)}
    with mock.patch.dict(os.environ, environment):
        uri = parse(initialise_token(SOFTHSM, label, SO_PIN, PIN))
    return Token(str(replace(uri, module_path=module)), PIN, environment)


def nss(folder: Path) -> Token:
    """NSS softokn with a key database under `folder`."""
    password = folder / "password"
    password.write_bytes(PIN)
    database = f"sql:{folder}"
    # The default of the key derivation makes every write of a private object take long.
    environment = {"NSS_MAX_MP_PBE_ITERATION_COUNT": "1"}
    subprocess.run(
        ["certutil", "-N", "-d", database, "-f", password],
        check=True,
        env=os.environ | environment,
    )
    args = f"configdir='{database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags="
    uri = Pkcs11Uri(token="NSS Certificate DB", module_path=NSS, init_args=args)
    return Token(str(uri), PIN, environment)


@contextmanager
def p11kit(folder: Path) -> Iterator[tuple[Token, "Wire"]]:
    """SoftHSM behind `p11-kit server`, and the wire between, which can be cut."""
    behind = softhsm(folder)
    there, here = folder / "server.sock", folder / "wire.sock"
    serve = ["p11-kit", "server", "-f", "-n", there, "--provider", SOFTHSM, "pkcs11:token=test"]
    forward = [sys.executable, HERE / "contract" / "wire.py", here, there]
    with ended(serve, behind.environment):
        wait_for(there)
        with ended(forward, {}) as process:
            wait_for(here)
            uri = str(Pkcs11Uri(token="test", module_path=P11KIT))
            environment = {"P11_KIT_SERVER_ADDRESS": f"unix:path={here}"}
            yield Token(uri, PIN, environment), Wire(process)


def wait_for(path: Path) -> None:
    wait_until(path.exists)


def wait_until(happened: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Wire:
    """The socket between p11-kit's client and server."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def cut(self) -> None:
        """Every connection breaks; new ones may be made."""
        self._process.send_signal(signal.SIGUSR1)
        time.sleep(0.2)


@contextmanager
def ended(command: list[object], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, env=os.environ | environment
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


@dataclass(frozen=True)
class Faults:
    """SoftHSM behind the shim of tests/contract/shim: a real module that misbehaves when told.

    `token.environment` names the control file, so that a child process obeys it too.
    """

    token: Token
    control: Path
    calls: Path

    def order(self, function: str, fault: str) -> None:
        """`fault`: flip, hang, crash, device-error, general-error, full; see shim.c."""
        self.control.write_text(f"{function} {fault}\n")

    def heal(self) -> None:
        self.control.write_text("")

    def count(self, function: str) -> int:
        """How often a PKCS#11 function was called since the shim was built."""
        return self.calls.read_text().split().count(function) if self.calls.exists() else 0


def fault_module(folder: Path) -> Faults:
    """Build the shim under `folder`, with a fresh SoftHSM token behind it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "install gcc and libp11-kit-dev: the fault shim is built by its tests"
    library, control = folder / "shim.so", folder / "control"
    source = HERE / "contract" / "shim" / "shim.c"
    includes = "-I/usr/include/p11-kit-1"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", includes]
    subprocess.run([compiler, *options, "-o", library, source, "-ldl"], check=True)
    control.write_text("")
    token = softhsm(folder, module=str(library))
    environment = token.environment | {
        "FAULT_TARGET": SOFTHSM,
        "FAULT_CONTROL": str(control),
        "FAULT_CALLS": str(folder / "calls"),
    }
    return Faults(replace(token, environment=environment), control, folder / "calls")
