"""What can be asked of a module without a login, and the making of tokens."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hsm.errors import (
    HsmError,
    MechanismUnsupportedError,
    PinIncorrectError,
    TokenNotFoundError,
    UriError,
)
from hsm.modules import module_of
from hsm.registry import initialise_token, list_tokens, open_device, probe
from hsm.types import Algorithm, Mechanism
from hsm.uri import Pkcs11Uri, parse
from tests import devices


@pytest.fixture
def softhsm(tmp_path, monkeypatch) -> devices.Token:
    token = devices.softhsm(tmp_path)
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    return token


def test_a_token_is_described_without_a_login(softhsm) -> None:
    info = probe(softhsm.uri)
    assert (info.label, info.manufacturer) == ("test", "SoftHSM project")
    assert info.serial == parse(softhsm.uri).serial
    assert parse(info.uri).serial == info.serial
    assert Mechanism.ECDSA in info.mechanisms
    assert Algorithm.RSA_4096 in info.algorithms


@pytest.mark.usefixtures("softhsm")
def test_tokens_are_listed_with_those_that_may_be_initialised() -> None:
    listed = list_tokens(devices.SOFTHSM)
    assert [t["label"] for t in listed if t["initialised"]] == ["test"]
    assert sum(not t["initialised"] for t in listed) == 1


def test_a_token_is_initialised_and_never_one_that_is_already(softhsm) -> None:
    uri = initialise_token(devices.SOFTHSM, "zweites ü", b"so-pin-1", b"user-pin-1")
    device = open_device(uri, b"user-pin-1")
    assert device.info.label == "zweites ü"
    device.close()
    assert {t["label"] for t in list_tokens(devices.SOFTHSM)} == {"test", "zweites ü", ""}
    first = open_device(softhsm.uri, softhsm.pin)
    first.close()


def test_a_named_slot_is_wiped_only_by_its_security_officer(softhsm) -> None:
    slot = next(t["slot_id"] for t in list_tokens(devices.SOFTHSM) if t["label"] == "test")
    with pytest.raises(PinIncorrectError):
        initialise_token(devices.SOFTHSM, "new", b"wrong-so-pin", b"user-pin-1", slot)
    open_device(softhsm.uri, softhsm.pin).close()
    uri = initialise_token(devices.SOFTHSM, "new", devices.SO_PIN, b"user-pin-1", slot)
    open_device(uri, b"user-pin-1").close()


@pytest.mark.usefixtures("softhsm")
@pytest.mark.parametrize(
    ("label", "so_pin", "user_pin", "slot"),
    [
        ("", b"so-pin-1", b"user-pin-1", None),
        ("x" * 33, b"so-pin-1", b"user-pin-1", None),
        ("new", b"so", b"user-pin-1", None),
        ("new", b"so-pin-1", b"u", None),
        ("new", b"so-pin-1", b"user-pin-1", 4711),
    ],
)
def test_a_token_that_cannot_be_made_is_refused(label, so_pin, user_pin, slot) -> None:
    with pytest.raises(HsmError) as caught:
        initialise_token(devices.SOFTHSM, label, so_pin, user_pin, slot)
    assert "so-pin-1" not in repr(caught.value)


def test_no_token_is_initialised_through_p11_kits_client(remote, monkeypatch) -> None:
    token, _ = remote
    monkeypatch.setenv("P11_KIT_SERVER_ADDRESS", token.environment["P11_KIT_SERVER_ADDRESS"])
    with pytest.raises(MechanismUnsupportedError):
        initialise_token(devices.P11KIT, "new", b"so-pin-1", b"user-pin-1")


def test_a_module_is_found_by_its_name_as_rfc_7512_says() -> None:
    for name in ("softhsm2", "libsofthsm2"):
        assert module_of(Pkcs11Uri(module_name=name)) == devices.SOFTHSM
    for name in ("", "../lib/softhsm2", "no-such-module"):
        with pytest.raises((UriError, TokenNotFoundError)):
            module_of(Pkcs11Uri(module_name=name))


def test_pins_of_a_new_token_are_in_no_argument_and_no_environment(tmp_path) -> None:
    """A module that shows what its process was given: the shim hangs while we look."""
    faults = devices.fault_module(tmp_path)
    faults.order("C_GetTokenInfo", "hang")
    code = (
        "import sys; from hsm.registry import initialise_token; "
        "initialise_token(sys.argv[1], 'new', *sys.stdin.buffer.read().split())"
    )
    module = parse(faults.token.uri).module_path
    environment = os.environ | faults.token.environment | {"PYTHONPATH": os.pathsep.join(sys.path)}
    asker = subprocess.Popen(
        [sys.executable, "-c", code, module],
        stdin=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    asker.stdin.write(b"so-pin-1 user-pin-1")
    asker.stdin.close()
    try:
        seen = [given_to(process) for process in children_when_hanging(faults, asker.pid)]
    finally:
        os.killpg(asker.pid, 9)
        asker.wait()
    assert len(seen) >= 2
    for given in seen:
        assert b"hsm" in given
        assert not any(pin in given for pin in (b"so-pin-1", b"user-pin-1", b"c28tcGluLTE"))


def children_when_hanging(faults, leader: int) -> list[int]:
    devices.wait_until(lambda: faults.count("C_GetTokenInfo") > 0)
    groups = ((int(p.name), p / "stat") for p in Path("/proc").iterdir() if p.name.isdigit())
    return [pid for pid, file in groups if file.exists() and os.getpgid(pid) == leader]


def given_to(process: int) -> bytes:
    folder = Path(f"/proc/{process}")
    return (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()


def test_a_throwaway_token_is_one_command(tmp_path, monkeypatch) -> None:
    command = devices.HERE.parent / "softhsm-config" / "throwaway-token"
    folder = tmp_path / "made here"
    done = subprocess.run(
        [sys.executable, command, folder, "demo"], capture_output=True, check=True
    )
    told = json.loads(done.stdout)
    pin_file = Path(told["pin_file"])
    assert stat.S_IMODE(pin_file.stat().st_mode) == 0o600
    monkeypatch.setenv("SOFTHSM2_CONF", told["SOFTHSM2_CONF"])
    device = open_device(told["uri"], pin_file.read_bytes())
    assert device.info.label == "demo"
    device.close()
    again = subprocess.run([sys.executable, command, folder], capture_output=True, check=False)
    assert again.returncode != 0  # the PINs of the first token are not overwritten
    usage = subprocess.run([sys.executable, command], capture_output=True, check=False)
    assert usage.returncode == os.EX_USAGE
