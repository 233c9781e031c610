"""A module that misbehaves: a real SoftHSM behind the shim of shim/shim.c."""

import os
import signal
import subprocess
import sys
import time

import pytest

from hsm.errors import (
    DeviceFullError,
    DeviceUnavailableError,
    HsmError,
    IntegrityError,
    PinIncorrectError,
)
from hsm.registry import list_tokens, open_device, probe
from hsm.types import Algorithm, KeyUsage, Mechanism, VerifyPolicy
from tests import devices
from tests.contract.conftest import spec_of

A, M, U = Algorithm, Mechanism, KeyUsage
DIGEST = os.urandom(32)
SIGNERS = [
    (A.EC_P256, M.ECDSA),
    (A.EC_P384, M.ECDSA),
    (A.ED25519, M.EDDSA),
    (A.RSA_2048, M.RSA_PKCS1_SHA256),
    (A.RSA_2048, M.RSA_PSS_SHA256),
]


@pytest.fixture
def device(faults, opened):
    return opened(faults.token)


@pytest.mark.parametrize(("algorithm", "mechanism"), SIGNERS)
def test_a_signature_with_one_flipped_bit_is_never_released(
    faults, device, algorithm, mechanism
) -> None:
    key = device.generate(spec_of(algorithm, U.SIGN)).spec.key_id
    faults.order("C_Sign", "flip")
    with pytest.raises(IntegrityError):
        device.sign(key, mechanism, DIGEST)
    spoilt = device.sign(key, mechanism, DIGEST, verify=VerifyPolicy.NEVER)
    assert not device.verify(key, mechanism, DIGEST, spoilt)
    faults.heal()
    assert device.verify(key, mechanism, DIGEST, device.sign(key, mechanism, DIGEST))


def test_sampling_notices_a_faulty_module_before_long(faults, device) -> None:
    key = device.generate(spec_of(A.EC_P256, U.SIGN)).spec.key_id
    faults.order("C_Sign", "flip")
    released = 0
    with pytest.raises(IntegrityError):  # noqa: PT012 - which of the many raises is chance
        while released < 400:  # draws of 1 in 16, which all miss once in 10^11 runs
            device.sign(key, M.ECDSA, DIGEST, verify=VerifyPolicy.SAMPLED)
            released += 1
    assert released < 400


def test_the_policy_of_the_device_holds_where_a_call_names_none(faults, opened) -> None:
    trusting = opened(faults.token, verify=VerifyPolicy.NEVER)
    key = trusting.generate(spec_of(A.EC_P256, U.SIGN)).spec.key_id
    faults.order("C_Sign", "flip")
    assert len(trusting.sign(key, M.ECDSA, DIGEST)) == 64
    with pytest.raises(IntegrityError):
        trusting.sign(key, M.ECDSA, DIGEST, verify=VerifyPolicy.ALWAYS)


@pytest.mark.parametrize(
    ("usage", "algorithm", "function"),
    [
        (U.SIGN, A.EC_P256, "C_Sign"),
        (U.MAC, A.HMAC_SHA256, "C_GetAttributeValue"),
        (U.SIGN, A.EC_P256, "C_GetAttributeValue"),
        (U.ENCRYPT, A.AES_256, "C_Encrypt"),
    ],
)
def test_a_key_born_faulty_leaves_nothing_on_the_token(
    faults, device, usage, algorithm, function
) -> None:
    spec = spec_of(algorithm, usage)
    faults.order(function, "flip")
    with pytest.raises(HsmError):
        device.generate(spec)
    faults.heal()
    assert device.find(spec.key_id) == []
    assert device.generate(spec).spec == spec


@pytest.mark.parametrize(
    ("usage", "algorithm", "function"),
    [
        (U.SIGN, A.EC_P256, "C_GenerateKeyPair"),
        (U.ENCRYPT, A.AES_256, "C_GenerateKey"),
    ],
)
def test_a_token_without_room_says_so_and_its_keys_go_on(
    faults, device, usage, algorithm, function
) -> None:
    older = device.generate(spec_of(A.EC_P256, U.SIGN)).spec.key_id
    spec = spec_of(algorithm, usage)
    faults.order(function, "full")
    with pytest.raises(DeviceFullError, match="the token is full") as caught:
        device.generate(spec)
    assert (caught.value.code, caught.value.cause) == ("hsm-full", "CKR_DEVICE_MEMORY")
    assert "Free room" in caught.value.next_step
    assert device.find(spec.key_id) == []
    assert len(device.sign(older, M.ECDSA, DIGEST)) == 64
    faults.heal()
    assert device.generate(spec).spec == spec


def test_a_restored_pair_whose_public_half_finds_no_room_leaves_no_private_half(
    faults, device
) -> None:
    kek = device.generate(spec_of(A.AES_256, U.WRAP, trusted=True)).spec.key_id
    made = device.generate(spec_of(A.EC_P256, U.SIGN, extractable=True))
    blob, spec = device.wrap(kek, made.spec.key_id), spec_of(A.EC_P256, U.SIGN)
    faults.order("C_CreateObject", "full")
    with pytest.raises(DeviceFullError):
        device.unwrap(kek, blob, spec, public_key=made.public_key)
    assert device.find(spec.key_id) == []
    faults.heal()
    assert device.unwrap(kek, blob, spec, public_key=made.public_key).spec == spec


def test_a_lost_session_stays_lost_and_a_second_failure_changes_nothing(
    faults, device, opened
) -> None:
    key = device.generate(spec_of(A.EC_P256, U.SIGN)).spec.key_id
    faults.order("C_Sign", "device-error")
    for _ in range(2):
        with pytest.raises(DeviceUnavailableError) as caught:
            device.sign(key, M.ECDSA, DIGEST)
        assert caught.value.cause == "CKR_DEVICE_ERROR"
        assert caught.value.next_step
    faults.heal()
    with pytest.raises(DeviceUnavailableError):
        device.sign(key, M.ECDSA, DIGEST)
    device.close()
    assert len(opened(faults.token).sign(key, M.ECDSA, DIGEST)) == 64


def test_a_passing_failure_leaves_the_session_alive(faults, device) -> None:
    key = device.generate(spec_of(A.EC_P256, U.SIGN)).spec.key_id
    faults.order("C_Sign", "general-error")
    for _ in range(2):
        with pytest.raises(DeviceUnavailableError):
            device.sign(key, M.ECDSA, DIGEST)
    faults.heal()
    assert len(device.sign(key, M.ECDSA, DIGEST)) == 64


def test_signing_finds_nothing_and_searches_once_a_session(faults, device, opened) -> None:
    keys = [device.generate(spec_of(A.EC_P256, U.SIGN)).spec.key_id for _ in range(3)]
    device.close()
    again = opened(faults.token)
    before = faults.count("C_FindObjectsInit")
    for _ in range(5):
        for key in keys:
            again.sign(key, M.ECDSA, DIGEST)
    assert faults.count("C_FindObjectsInit") - before == len(keys)


def test_a_wrong_pin_is_tried_once_and_leaves_no_session(faults, opened) -> None:
    wrong = devices.replace(faults.token, pin=b"not-the-pin")
    for attempt in range(1, 4):
        with pytest.raises(HsmError):
            opened(wrong)
        assert faults.count("C_Login") == attempt
    assert faults.count("C_OpenSession") == faults.count("C_CloseSession") == 3


def test_failed_logins_leave_no_session_behind(faults, opened, tmp_path) -> None:
    """A device on another token keeps the module loaded, so nothing is swept by finalising."""
    other = devices.softhsm(tmp_path, "other", devices.parse(faults.token.uri).module_path)
    first = opened(faults.token)
    for _ in range(50):
        with pytest.raises(PinIncorrectError):
            open_device(other.uri, b"wrong-pin")
    assert faults.count("C_OpenSession") - faults.count("C_CloseSession") == 1
    assert faults.count("C_Login") == 51
    assert len(first.random(4)) == 4


CHILD = """
import os, signal, sys
from pathlib import Path
from hsm.registry import open_device
from hsm.types import Mechanism
device = open_device(sys.argv[1], sys.stdin.buffer.read())
print("open", flush=True)
Path(os.environ["FAULT_CONTROL"]).write_text(sys.argv[3])
signal.setitimer(signal.ITIMER_REAL, 1.0)
device.sign(bytes.fromhex(sys.argv[2]), Mechanism.ECDSA, bytes(32))
print("signed", flush=True)
"""


@pytest.mark.parametrize(
    ("fault", "death"), [("hang", signal.SIGALRM), ("crash", signal.SIGSEGV), ("none", 0)]
)
def test_a_hung_call_ends_by_the_timer_of_its_process_and_a_fresh_one_goes_on(
    faults, device, fault, death
) -> None:
    """The GIL is free while a module hangs, but only a signal without a handler ends the call."""
    key = device.generate(spec_of(A.EC_P256, U.SIGN)).spec.key_id
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, faults.token.uri, key.hex(), f"C_Sign {fault}"],
        input=faults.token.pin,
        env=os.environ | faults.token.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert time.monotonic() - started < 10
    assert done.returncode == -death, done.stderr
    assert done.stdout.split() == ([b"open"] if death else [b"open", b"signed"])
    faults.heal()
    assert len(device.sign(key, M.ECDSA, DIGEST)) == 64


def test_a_module_that_crashes_costs_the_asker_nothing(faults, monkeypatch) -> None:
    for name, value in faults.token.environment.items():
        monkeypatch.setenv(name, value)
    faults.order("C_GetTokenInfo", "crash")
    for ask in (lambda: probe(faults.token.uri), lambda: list_tokens(probe_path(faults))):
        with pytest.raises(DeviceUnavailableError):
            ask()
    faults.heal()
    assert probe(faults.token.uri).label == "test"


def probe_path(faults) -> str:
    return devices.parse(faults.token.uri).module_path
