"""Logging in, being cut off, healing; several processes on one token."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from hsm.errors import (
    DeviceUnavailableError,
    ErrorKind,
    HsmError,
    PinIncorrectError,
    TokenNotFoundError,
)
from hsm.types import Algorithm, KeyUsage, Mechanism
from hsm.uri import parse
from tests import devices
from tests.contract.conftest import spec_of

A, M, U = Algorithm, Mechanism, KeyUsage
DIGEST = bytes(32)


def test_a_cut_wire_is_an_unavailable_device_and_a_fresh_one_heals(remote, opened) -> None:
    token, wire = remote
    device = opened(token)
    key = device.generate(spec_of(A.EC_P256, U.SIGN))
    wire.cut()
    for _ in range(3):
        with pytest.raises(DeviceUnavailableError) as caught:
            device.sign(key.spec.key_id, M.ECDSA, DIGEST)
        assert caught.value.kind is ErrorKind.TRANSIENT
        assert caught.value.next_step
    device.close()
    again = opened(token)
    assert again.public_key(key.spec.key_id) == key.public_key
    assert len(again.sign(key.spec.key_id, M.ECDSA, DIGEST)) == 64
    wire.cut()
    with pytest.raises(DeviceUnavailableError):
        again.sign(key.spec.key_id, M.ECDSA, DIGEST)


@pytest.mark.parametrize("name", ["softhsm", "p11kit", "nss"])
@pytest.mark.parametrize("pin", [b"wrong-pin", b"", b"x" * 300, b"\xff\xfe\xfd\xfc"])
def test_a_wrong_pin_is_refused_without_being_shown(token, opened, pin) -> None:
    with pytest.raises(PinIncorrectError) as caught:
        opened(devices.replace(token, pin=pin))
    assert caught.value.kind is ErrorKind.OPERATOR
    shown = f"{caught.value!r} {caught.value.cause} {caught.value.next_step}"
    assert not pin or (str(pin) not in shown and "wrong-pin" not in shown)
    assert len(opened(token).random(4)) == 4


def test_a_bytearray_pin_stays_its_owners_to_wipe(tmp_path, opened) -> None:
    token = devices.softhsm(tmp_path)
    pin = bytearray(token.pin)
    device = opened(devices.replace(token, pin=pin))
    pin[:] = bytes(len(pin))
    assert len(device.random(4)) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"token": "another"},
        {"serial": "0000"},
        {"manufacturer": "nobody"},
        {"slot_id": 4711},
        {"module_path": "/usr/lib/no-such-module.so"},
        {"module_path": sys.executable},
    ],
)
def test_what_is_not_there_is_named(tmp_path, opened, change) -> None:
    token = devices.softhsm(tmp_path)
    uri = devices.replace(parse(token.uri), **change)
    with pytest.raises(TokenNotFoundError) as caught:
        opened(devices.replace(token, uri=str(uri)))
    assert caught.value.next_step


def test_a_second_login_of_one_process_is_refused_and_the_first_goes_on(tmp_path, opened) -> None:
    token = devices.softhsm(tmp_path)
    first = opened(token)
    with pytest.raises(HsmError, match="logged in") as caught:
        opened(token)
    assert (caught.value.code, caught.value.cause) == ("hsm-error", "CKR_USER_ALREADY_LOGGED_IN")
    assert caught.value.next_step
    assert len(first.random(4)) == 4


def test_two_tokens_that_match_are_ambiguous(tmp_path, opened) -> None:
    token = devices.softhsm(tmp_path, "twin")
    devices.softhsm(tmp_path, "twin")
    uri = devices.replace(parse(token.uri), serial="")
    with pytest.raises(TokenNotFoundError, match="2 tokens match"):
        opened(devices.replace(token, uri=str(uri)))
    assert opened(token).info.serial == parse(token.uri).serial


WORKER = """
import sys
from hsm.registry import open_device
from hsm.types import Mechanism
device = open_device(sys.argv[1], sys.stdin.buffer.readline().rstrip())
print("ready", flush=True)
sys.stdin.buffer.readline()
for number in range(60):
    device.sign(bytes.fromhex(sys.argv[2]), Mechanism.ECDSA, number.to_bytes(32))
print("done", flush=True)
device.close()
"""


def test_four_processes_sign_with_one_token_at_once(tmp_path, opened) -> None:
    """Threads are not offered: a device belongs to one thread. Processes start one by one."""
    token = devices.softhsm(tmp_path)
    device = opened(token)
    key = device.generate(spec_of(A.EC_P256, U.SIGN)).spec.key_id
    environment = os.environ | token.environment | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WORKER, token.uri, key.hex()]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with ExitStack() as stack:
        workers = []
        for _ in range(4):
            worker = stack.enter_context(subprocess.Popen(command, env=environment, **pipes))
            worker.stdin.write(token.pin + b"\n")
            worker.stdin.flush()
            assert worker.stdout.readline() == b"ready\n"
            workers.append(worker)
        for worker in workers:
            worker.stdin.write(b"go\n")
            worker.stdin.flush()
        assert [worker.stdout.readline() for worker in workers] == [b"done\n"] * 4
    assert [worker.returncode for worker in workers] == [0] * 4
    assert len(device.sign(key, M.ECDSA, DIGEST)) == 64


def test_a_key_that_another_process_destroyed_is_not_found(tmp_path, opened) -> None:
    token = devices.softhsm(tmp_path)
    device = opened(token)
    key = device.generate(spec_of(A.EC_P256, U.SIGN)).spec.key_id
    code = (
        "import sys; from hsm.registry import open_device; "
        "d = open_device(sys.argv[1], sys.stdin.buffer.read()); "
        "print(d.destroy(bytes.fromhex(sys.argv[2]))); d.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, token.uri, key.hex()],
        input=token.pin,
        env=os.environ | token.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"2\n"
    with pytest.raises(HsmError):
        device.sign(key, M.ECDSA, DIGEST)
    assert device.find(key) == []
