"""The gate's processes: what they hold, and what becomes of them when a module goes wrong."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hsm.errors import (
    DeviceFullError,
    DeviceTimeoutError,
    DeviceUnavailableError,
    HsmError,
    IntegrityError,
    PinIncorrectError,
)
from hsm.types import Mechanism
from keyvault.domain.errors import AuthorityError, AuthorityMissingError, ReplayedError
from keyvault.gate import ceremony
from keyvault.gate.hot import GateClient
from tests import devices
from tests.gate.house import DEADLINE, DIGEST, House, active, ask, order, signed, worker_of


def _processes(house: House) -> dict[str, int]:
    keeper = house.running["keys"]
    return {"keeper": keeper.pid, "worker": worker_of(keeper)}


def _read(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


@pytest.mark.parametrize("name", ["keeper", "worker"])
def test_no_pin_stands_in_arguments_or_environment(house: House, name: str):
    pid = _processes(house)[name]
    assert devices.PIN not in _read(pid, "cmdline")
    assert b"keyvault.gate" in _read(pid, "cmdline")
    if os.geteuid() == 0:
        assert devices.PIN not in _read(pid, "environ")
    else:  # not even its own user may look
        with pytest.raises(PermissionError):
            _read(pid, "environ")


@pytest.mark.parametrize("name", ["keeper", "worker"])
def test_no_process_of_the_gate_dumps_core(house: House, name: str):
    pid = _processes(house)[name]
    limits = _read(pid, "limits").decode()
    [core] = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core.split()[-3:-1] == ["0", "0"]


def test_a_hardened_process_cannot_be_read_by_its_own_user():
    code = (
        "from ctypes import CDLL; from keyvault.gate.process import harden\n"
        "harden(); print(CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    )
    assert subprocess.check_output([sys.executable, "-c", code]) == b"0\n"


def test_only_the_worker_loads_the_module_and_only_it_gets_its_environment(house: House):
    both = _processes(house)
    if os.geteuid() != 0:  # the kernel hides all of this even from the processes' own user
        for pid in both.values():
            with pytest.raises(PermissionError):
                _read(pid, "maps")
        return
    assert b"softhsm" not in _read(both["keeper"], "maps")
    assert b"softhsm" in _read(both["worker"], "maps")
    [own] = house.tokens["keys"].environment.values()
    assert own.encode() not in _read(both["keeper"], "environ")
    assert own.encode() in _read(both["worker"], "environ")


def test_the_socket_is_its_owners_alone(house: House):
    assert house.settings.keys.socket.stat().st_mode & 0o777 == 0o600


def test_a_pin_is_read_from_a_descriptor(own: House):
    (own.folder / "pins" / "keys").unlink()
    reader, writer = os.pipe()
    os.write(writer, devices.PIN)
    os.close(writer)
    own.spawn("keys", "--pin-fd", str(reader), pass_fds=(reader,))
    os.close(reader)
    assert own.wait()["info"]["label"] == "keys"


def _left(house: House) -> tuple[int, str]:
    keeper = house.spawn("keys", stderr=subprocess.PIPE)
    _, said = keeper.communicate(timeout=20)
    del house.running["keys"]
    return keeper.returncode, said.decode()


def test_a_pin_file_that_others_may_read_is_refused(own: House):
    (own.folder / "pins" / "keys").chmod(0o640)
    code, said = _left(own)
    assert code == os.EX_CONFIG
    assert "others may read the PIN file" in said


@pytest.mark.parametrize("content", [b"", b"\n", b"1" * 300])
def test_a_pin_that_can_be_none_is_refused(own: House, content: bytes):
    (own.folder / "pins" / "keys").write_bytes(content)
    assert _left(own)[0] == os.EX_CONFIG


def test_a_second_keeper_does_not_take_the_socket(own: House):
    first = own.start()
    code, said = _left(own)
    own.running["keys"] = first
    assert code == os.EX_CONFIG
    assert "in use" in said
    assert own.wait()["pid"] == worker_of(first)


def test_a_wrong_pin_costs_one_try_and_no_more(faulty: House, faults: devices.Faults):
    tries = faults.count("C_Login")
    (faulty.folder / "pins" / "keys").write_bytes(b"not-the-pin")
    code, said = _left(faulty)
    assert code == os.EX_NOPERM
    assert faults.count("C_Login") == tries + 1
    assert "PIN" in said
    assert "not-the-pin" not in said
    assert not faulty.settings.keys.socket.exists()


def test_a_wrong_pin_at_the_ceremony_is_said_and_not_retried(faulty: House, faults: devices.Faults):
    tries = faults.count("C_Login")
    with pytest.raises(PinIncorrectError):
        ceremony.hold(faulty.path, bytearray(b"not-the-pin"), bytearray(devices.PIN))
    assert faults.count("C_Login") == tries + 1


def test_the_ceremony_held_again_finds_the_same_keys(own: House):
    assert ceremony.hold(own.path, *(bytearray(devices.PIN) for _ in range(2))) == own.services


def test_a_keeper_that_is_told_to_leave_takes_its_worker_and_socket_along(own: House):
    worker = worker_of(own.start())
    assert own.stop() == os.EX_OK
    assert not Path(f"/proc/{worker}").exists()
    assert not own.settings.keys.socket.exists()


def test_a_worker_dies_with_its_keeper(own: House):
    keeper = own.start()
    worker = worker_of(keeper)
    keeper.kill()
    keeper.wait(10)
    until = time.monotonic() + 10
    while Path(f"/proc/{worker}/cmdline").exists() and _read(worker, "cmdline"):
        assert time.monotonic() < until
        time.sleep(0.01)
    own.running.pop("keys")
    assert own.start()


def test_a_hung_module_is_killed_within_the_deadline_and_service_resumes(
    faulty: House, faults: devices.Faults
):
    faulty.start()
    gate = faulty.gate()
    key = active(gate, order())["key_id"]
    before = gate.status()
    faults.order("C_Sign", "hang")
    began = time.monotonic()
    with pytest.raises(DeviceTimeoutError):
        faulty.sign(key)
    assert DEADLINE <= time.monotonic() - began < DEADLINE + 2
    faults.heal()
    assert faulty.sign(key)
    after = faulty.wait()
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"] + 1


def test_readiness_shows_a_hung_module_within_three_seconds(faulty: House, faults: devices.Faults):
    faulty.start()
    faults.order("C_Login", "hang")  # the next worker will hang at its start
    os.kill(worker_of(faulty.running["keys"]), signal.SIGKILL)
    gate = faulty.gate()
    began = time.monotonic()
    with pytest.raises(DeviceUnavailableError):
        gate.status()
    assert time.monotonic() - began < 3
    faults.heal()
    os.kill(worker_of(faulty.running["keys"]), signal.SIGKILL)  # else its deadline is awaited
    assert faulty.wait()


@pytest.mark.parametrize("fault", ["crash", "device-error"])
def test_a_module_that_crashes_or_loses_its_session_is_replaced(
    faulty: House, faults: devices.Faults, fault: str
):
    faulty.start()
    gate = faulty.gate()
    key = active(gate, order())["key_id"]
    before = gate.status()["pid"]
    faults.order("C_Sign", fault)
    with pytest.raises(DeviceUnavailableError):
        faulty.sign(key)
    faults.heal()
    assert faulty.sign(key)
    assert gate.status()["pid"] != before


def test_a_call_that_the_module_did_not_like_does_not_cost_the_worker(
    faulty: House, faults: devices.Faults
):
    faulty.start()
    gate = faulty.gate()
    key = active(gate, order())["key_id"]
    before = gate.status()["pid"]
    faults.order("C_Sign", "general-error")
    with pytest.raises(HsmError):
        faulty.sign(key)
    faults.heal()
    assert faulty.sign(key)
    assert gate.status()["pid"] == before


def test_a_full_token_refuses_a_new_key_and_nothing_else(faulty: House, faults: devices.Faults):
    faulty.start()
    gate = faulty.gate()
    key = active(gate, order())["key_id"]
    request = ask(order()).document
    faults.order("C_GenerateKeyPair", "full")
    with pytest.raises(DeviceFullError, match="full") as caught:
        gate.execute(request, signed(request))
    assert "ask again" in caught.value.next_step
    assert faulty.sign(key)
    faults.heal()
    with pytest.raises(ReplayedError):
        gate.execute(request, signed(request))
    again = ask(order()).document
    assert gate.execute(again, signed(again))["key_id"]


def test_a_wrong_signature_is_never_released(faulty: House, faults: devices.Faults):
    faulty.start()
    gate = faulty.gate()
    key = active(gate, order())["key_id"]
    faults.order("C_Sign", "flip")
    with pytest.raises(IntegrityError):
        faulty.sign(key)
    with pytest.raises(IntegrityError):
        gate.session_ca()
    with pytest.raises(IntegrityError):
        gate.sign_manifest(b"{}")


def test_a_worker_killed_under_load_costs_only_the_calls_in_flight(own: House):
    own.start()
    key = active(own.gate(), order())["key_id"]

    async def run() -> tuple[int, int]:
        client = GateClient(own.settings.keys.socket, deadline=DEADLINE)
        failures = good = 0

        async def caller() -> None:
            nonlocal failures, good
            for _ in range(50):
                try:
                    await client.sign(key, Mechanism.ECDSA, [DIGEST])
                    good += 1
                except DeviceUnavailableError as error:
                    failures += 1
                    await asyncio.sleep(error.retry_after)

        callers = asyncio.gather(*(caller() for _ in range(8)))
        await asyncio.sleep(0.05)
        os.kill(worker_of(own.running["keys"]), signal.SIGKILL)
        await callers
        await client.close()
        return failures, good

    failures, good = asyncio.run(run())
    assert failures + good == 400
    assert 0 < failures <= 80  # in flight once each, then turned away until the worker is back


def test_a_worker_that_leaves_in_order_costs_no_call_at_all(own: House):
    """So it does when it is worn out: what it has not begun, its successor does."""
    own.start()
    key = active(own.gate(), order())["key_id"]

    async def run() -> None:
        client = GateClient(own.settings.keys.socket, deadline=DEADLINE)

        async def caller() -> None:
            for _ in range(50):
                await client.sign(key, Mechanism.ECDSA, [DIGEST])

        callers = asyncio.gather(*(caller() for _ in range(8)))
        await asyncio.sleep(0.02)
        os.kill(worker_of(own.running["keys"]), signal.SIGTERM)
        await callers
        assert (await client.status())["restarts"] == 1
        await client.close()

    asyncio.run(run())


def test_what_was_redeemed_stays_so_after_a_restart(own: House):
    own.start()
    gate = own.gate()
    request = ask(order()).document
    approvals = signed(request)
    gate.execute(request, approvals)
    own.stop()
    own.start()
    with pytest.raises(ReplayedError):
        gate.execute(request, approvals)


def test_what_was_redeemed_stays_so_if_the_worker_dies_while_the_device_acts(
    faulty: House, faults: devices.Faults
):
    faulty.start()
    gate = faulty.gate()
    request = ask(order()).document
    approvals = signed(request)
    faults.order("C_GenerateKeyPair", "crash")
    with pytest.raises(DeviceUnavailableError):
        gate.execute(request, approvals)
    faults.heal()
    with pytest.raises(ReplayedError):
        gate.execute(request, approvals)


def test_a_worker_without_the_chain_says_so_and_its_client_pushes_it(own: House):
    own.start()
    request = ask(order()).document
    ignorant = own.gate(records_from=lambda _: [])
    with pytest.raises(AuthorityMissingError):
        ignorant.execute(request, signed(request))
    assert own.gate().execute(request, signed(request))
    assert own.gate().status()["authority"]["size"] == 1


def test_a_gate_whose_pinned_genesis_is_another_trusts_nobody(own: House):
    own.write("ab" * 32)
    own.start()
    request = ask(order()).document
    with pytest.raises(AuthorityError, match="genesis"):
        own.gate().execute(request, signed(request))


def test_a_keeper_waits_longer_after_each_failure_and_serves_once_it_can(own: House):
    token = own.tokens["keys"]
    own.tokens["keys"] = replace(token, uri=token.uri.replace("token=keys", "token=none"))
    own.write(own.records[0].hash)
    keeper = own.spawn(stderr=subprocess.PIPE)
    assert keeper.stderr
    with keeper.stderr:
        said = "".join(keeper.stderr.readline().decode() for _ in range(6))
        assert all(pause in said for pause in ("0.1 s", "0.2 s", "0.4 s")), said
        own.tokens["keys"] = token
        own.write(own.records[0].hash)
        assert own.wait()
