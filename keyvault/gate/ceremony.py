"""Making the service's own keys, before any authority exists: a step of the genesis ceremony.

Each token is opened by a short-lived process of its own, like a worker's, so that whoever holds
the ceremony never loads a PKCS#11 module.
"""

import argparse
import base64
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hsm.device import Device
from hsm.errors import DeviceUnavailableError, HsmError
from keyvault.domain.authority import Services
from keyvault.domain.canonical import Document
from keyvault.gate.log import has_ed25519, signers
from keyvault.gate.process import harden, pipe_of
from keyvault.gate.services import (
    EVIDENCE,
    KEK,
    LOG,
    LOG_ED25519,
    MAC,
    SESSION_CA,
    service_spec,
)
from keyvault.gate.worker import exit_code, opened
from keyvault.settings import ModuleSettings, Settings
from keyvault.wire.errors import document_of, error_of

PATIENCE = 120.0  # seconds for one token's keys

log = logging.getLogger("keyvault.gate")


def hold(path: Path, keys_pin: bytearray, log_pin: bytearray) -> Services:
    """Make the service's keys in both tokens that the settings file names, or find them there.

    The PINs stay the caller's to wipe. Raises `hsm.errors.HsmError`.
    """
    settings = Settings.load(path)
    keys = _in_child(path, "keys", settings.keys, keys_pin)
    return Services(
        log_keys=tuple(_in_child(path, "log", settings.log, log_pin)["log_keys"]),
        session_ca=base64.b64decode(keys["session_ca"]),
        evidence=base64.b64decode(keys["evidence"]),
    )


def make_keys(device: Device) -> Document:
    """Make what the keys token holds for the service."""
    _made(device, KEK)
    _made(device, MAC)
    public = {"session_ca": _made(device, SESSION_CA), "evidence": _made(device, EVIDENCE)}
    return {name: base64.b64encode(spki).decode() for name, spki in public.items()}


def make_log_keys(device: Device, origin: str) -> Document:
    """Make what the log token holds: the keys that sign checkpoints."""
    _made(device, LOG)
    if has_ed25519(device):
        _made(device, LOG_ED25519)
    return {"log_keys": [key.vkey for key, _ in signers(device, origin)]}


def _made(device: Device, name: str) -> bytes:
    """Make a service key unless it is there; return its SPKI, empty for a secret key."""
    spec = service_spec(name)
    if not device.find(spec.key_id):
        return device.generate(spec).public_key
    return device.public_key(spec.key_id) if spec.algorithm.is_pair else b""


def _in_child(path: Path, name: str, module: ModuleSettings, pin: bytearray) -> Document:
    with pipe_of(pin) as reader:
        options = [f"--settings={path}", f"--module={name}", f"--pin-fd={reader}"]
        try:
            done = subprocess.run(  # noqa: S603  (our own interpreter and module)
                [sys.executable, "-m", "keyvault.gate.ceremony", *options],
                pass_fds=(reader,),
                env={**os.environ, **module.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceUnavailableError(f"the {name} token does not answer") from error
    try:
        answer: Document = json.loads(done.stdout)
    except ValueError as error:
        raise DeviceUnavailableError(
            f"the process that made the {name} token's keys ended with {done.returncode}",
            next_step="see what it wrote to the terminal",
        ) from error
    if done.returncode != os.EX_OK:
        raise error_of(answer)
    return answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one token's service keys; answer on stdout with their public halves."""
    parser = argparse.ArgumentParser(prog="python -m keyvault.gate.ceremony")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--module", choices=("keys", "log"), required=True)
    parser.add_argument("--pin-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    harden()
    settings = Settings.load(options.settings)
    try:
        device = opened(getattr(settings, options.module), options.pin_fd)
        made = (
            make_keys(device)
            if options.module == "keys"
            else make_log_keys(device, settings.origin)
        )
        device.close()
    except HsmError as error:
        sys.stdout.write(json.dumps(document_of(error)))
        return exit_code(error)
    sys.stdout.write(json.dumps(made))
    return os.EX_OK


if __name__ == "__main__":
    raise SystemExit(main())
