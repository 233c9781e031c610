"""Doctor's look at a PKCS#11 module: file, token, PIN, mechanisms, and a signature."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hsm.errors import HsmError
from hsm.modules import module_of
from hsm.types import Mechanism
from hsm.uri import parse
from keyvault.domain.errors import NotReadyError, VaultError
from keyvault.gate.process import find_pin, wipe
from keyvault.operations.health import Check
from keyvault.settings import ModuleSettings, Settings
from keyvault.wire import Client

CHILD_SECONDS = 60
# What the house itself needs of a token; everything else depends on the keys that are ordered.
NEEDED = {
    "keys": {Mechanism.ECDSA, Mechanism.AES_KWP, Mechanism.HMAC_SHA256},
    "log": {Mechanism.ECDSA},
}


def examine(settings: Settings, name: str) -> Iterator[Check]:
    """Examine one module. A gate that runs is asked; otherwise a short-lived child logs in."""
    module: ModuleSettings = getattr(settings, name)
    path = Path(module_of(parse(module.uri)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    yield Check(f"{name} module", ok=True, reason=f"{path}, SHA-256 {digest}")
    yield from _pin_file(settings, module, name)
    running = _gate(module)
    if running is not None:
        yield Check(f"{name} gate", ok=True, reason=f"running, process {running['pid']}")
        yield _mechanisms(name, running["info"]["mechanisms"])
        return
    found = _child(settings, module, name)
    yield Check(f"{name} token", ok=True, reason=found["library"])
    yield _mechanisms(name, found["mechanisms"])
    wrong = found["signature"]
    advice = "do not use this module: call its maker" if wrong else ""
    yield Check(f"{name} signature", ok=not wrong, reason=wrong or "good", next_step=advice)


def _pin_file(settings: Settings, module: ModuleSettings, name: str) -> Iterator[Check]:
    if settings.credentials is None or not module.pin:
        yield Check(f"{name} PIN", ok=True, reason="asked for at every start")
        return
    for path in (settings.credentials, settings.credentials / module.pin):
        status = path.stat()
        private = not status.st_mode & 0o077 and status.st_uid == os.geteuid()
        yield Check(
            f"{name} PIN {'folder' if path.is_dir() else 'file'}",
            ok=private,
            reason=f"{path}, mode {status.st_mode & 0o777:o}, owner {status.st_uid}",
            next_step="" if private else f"chmod go= {path}, and see that you own it",
        )


def _gate(module: ModuleSettings) -> dict[str, Any] | None:
    client = Client(module.socket)
    try:
        status: dict[str, Any] = client.call("status", timeout=5)
    except (OSError, HsmError, VaultError):
        return None
    finally:
        client.close()
    return status


def _mechanisms(name: str, works: list[str]) -> Check:
    missing = sorted(NEEDED[name] - {Mechanism(text) for text in works})
    return Check(
        f"{name} mechanisms",
        ok=not missing,
        reason=f"lacks {', '.join(missing)}" if missing else ", ".join(sorted(works)),
        next_step="use another module for this token" if missing else "",
    )


def _child(settings: Settings, module: ModuleSettings, name: str) -> dict[str, Any]:
    pin = find_pin(settings, module, None)
    try:
        done = subprocess.run(  # noqa: S603  (our own module; the PIN goes through the pipe)
            [sys.executable, "-m", "cli.local.preflight", name],
            input=module.uri.encode() + b"\n" + bytes(pin) + b"\n",
            env={**os.environ, **module.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            timeout=CHILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotReadyError(
            f"the module did not answer within {CHILD_SECONDS} s", next_step="is the HSM reachable?"
        ) from None
    finally:
        wipe(pin)
    if done.returncode:
        raise NotReadyError(
            f"the module ended its process with {done.returncode}",
            next_step="see whether this library fits this machine",
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return _told(answer)


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise NotReadyError(answer["error"], next_step=answer["next_step"])
    return answer
