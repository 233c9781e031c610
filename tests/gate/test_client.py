"""The gate's clients: wrapped keys are loaded, outages are noticed once and end by themselves."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from hsm.errors import (
    DeviceTimeoutError,
    DeviceUnavailableError,
    IntegrityError,
    KeyUnusableError,
)
from hsm.types import Algorithm, KeyUsage, Mechanism, VerifyPolicy, WrappedKey
from keyvault.domain.commands import DestroyKey
from keyvault.domain.errors import InvalidInputError, NotPermittedError
from keyvault.domain.keys import kek_name, service_key_id
from keyvault.gate.breaker import FAILURES, LONGEST_PAUSE, Breaker
from keyvault.gate.client import Gate
from keyvault.gate.documents import wrapped_document, wrapped_of
from keyvault.gate.hot import GateClient
from tests import devices
from tests.gate.house import DEADLINE, DIGEST, House, active, do, order, worker_of


def _run(house: House, use: Callable[[GateClient], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        client = GateClient(house.settings.keys.socket, **{"deadline": DEADLINE, **options})
        try:
            return await use(client)
        finally:
            await client.close()

    return asyncio.run(run())


def _bulk(gate: Gate, **terms: Any) -> WrappedKey:
    return wrapped_of(active(gate, order(key_class="bulk", **terms))["wrapped"])


def test_a_batch_is_signed_in_order(house: House, gate: Gate):
    key = active(gate, order())["key_id"]
    digests = [bytes([n]) * 32 for n in range(200)]

    async def use(client: GateClient) -> bool:
        signatures = await client.sign(key, Mechanism.ECDSA, digests, VerifyPolicy.NEVER)
        pairs = zip(digests, signatures, strict=True)
        checks = [client.verify(key, Mechanism.ECDSA, *pair) for pair in pairs]
        return all(await asyncio.gather(*checks))

    assert _run(house, use)


def test_a_batch_above_the_limit_is_refused(house: House, gate: Gate):
    key = active(gate, order())["key_id"]
    with pytest.raises(InvalidInputError):
        _run(house, lambda client: client.sign(key, Mechanism.ECDSA, [DIGEST] * 1001))


def test_every_use_of_a_key_comes_through(house: House, gate: Gate):
    aes = active(gate, order(Algorithm.AES_256, KeyUsage.ENCRYPT))["key_id"]
    mac = active(gate, order(Algorithm.AES_256, KeyUsage.MAC))["key_id"]

    async def use(client: GateClient) -> None:
        [sealed] = await client.encrypt(aes, Mechanism.AES_GCM, [b"text"], b"aad")
        assert await client.decrypt(aes, Mechanism.AES_GCM, sealed, b"aad") == b"text"
        [tag] = await client.mac(mac, Mechanism.AES_CMAC, [b"message"])
        assert await client.verify(mac, Mechanism.AES_CMAC, b"message", tag)
        assert len(await client.random(16)) == 16
        assert (await client.status())["pid"] > 0
        with pytest.raises(KeyUnusableError):
            await client.sign(aes, Mechanism.ECDSA, [DIGEST])

    _run(house, use)


def test_a_wrapped_key_is_loaded_when_the_gate_does_not_hold_it(own: House):
    own.start()
    wrapped = _bulk(own.gate())
    asked: list[bytes] = []

    def find(key_id: bytes) -> WrappedKey | None:
        asked.append(key_id)
        return wrapped if key_id == wrapped.spec.key_id else None

    async def use(client: GateClient) -> None:
        for _ in range(2):
            await client.sign(wrapped.spec.key_id, Mechanism.ECDSA, [DIGEST])
        assert asked == []  # it was made here, so the gate holds it
        os.kill(worker_of(own.running["keys"]), signal.SIGKILL)
        await asyncio.to_thread(own.wait)
        for _ in range(2):
            await client.sign(wrapped.spec.key_id, Mechanism.ECDSA, [DIGEST])
        assert asked == [wrapped.spec.key_id]
        with pytest.raises(KeyUnusableError, match="redeemed no order"):
            await client.sign(bytes(16), Mechanism.ECDSA, [DIGEST])

    _run(own, use, wrapped=find)


def test_a_record_that_was_just_read_goes_with_the_first_use(own: House):
    own.start()
    wrapped = _bulk(own.gate())
    gone = _bulk(own.gate())
    do(own.gate(), DestroyKey(UUID(bytes=gone.spec.key_id), "for a test"))
    moved = replace(wrapped, kek_id=service_key_id(kek_name(2)))  # under a KEK that is not there
    fresh: dict[bytes, WrappedKey] = {}
    asked: list[bytes] = []

    def find(key_id: bytes) -> WrappedKey:
        asked.append(key_id)
        return wrapped

    async def use(client: GateClient) -> None:
        async def signed() -> list[bytes]:
            os.kill(worker_of(own.running["keys"]), signal.SIGKILL)  # it holds nothing any more
            await asyncio.to_thread(own.wait)
            await client.sign(wrapped.spec.key_id, Mechanism.ECDSA, [DIGEST])
            return asked

        fresh[wrapped.spec.key_id] = wrapped
        assert await signed() == []  # nobody had to ask for it
        fresh[wrapped.spec.key_id] = moved
        assert await signed() == [wrapped.spec.key_id]  # it is read again
        fresh[gone.spec.key_id] = gone
        with pytest.raises(KeyUnusableError, match="came back"):
            await client.sign(gone.spec.key_id, Mechanism.ECDSA, [DIGEST])

    _run(own, use, wrapped=find, fresh=lambda key_id: fresh.pop(key_id, None))


@pytest.mark.parametrize("field", ["blob", "mac", "public_key", "label", "kek_id"])
def test_a_wrapped_record_that_was_altered_is_refused(own: House, field: str):
    own.start()
    document = wrapped_document(_bulk(own.gate()))
    own.stop()
    own.start()
    if field == "label":
        document["spec"] = {**document["spec"], "label": "another"}
    elif field == "kek_id":
        document["kek_id"] = service_key_id("mac")
    else:
        document[field] = document[field][:-1] + bytes([document[field][-1] ^ 1])
    altered = wrapped_of(document)
    for way in ("wrapped", "fresh"):
        with pytest.raises((IntegrityError, KeyUnusableError)):
            _run(
                own,
                lambda client: client.sign(altered.spec.key_id, Mechanism.ECDSA, [DIGEST]),
                **{way: lambda _: altered},
            )


def test_an_outage_is_told_once_and_so_is_its_end(faulty: House, faults: devices.Faults):
    faulty.start()
    key = active(faulty.gate(), order())["key_id"]
    changes: list[tuple[bool, str]] = []

    async def use(client: GateClient) -> None:
        faults.order("C_Sign", "hang")
        calls = [client.sign(key, Mechanism.ECDSA, [DIGEST]) for _ in range(8)]
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(failure) for failure in failures} == {DeviceTimeoutError}
        assert not client.states[0].up
        with pytest.raises(DeviceUnavailableError, match="down") as caught:
            await client.sign(key, Mechanism.ECDSA, [DIGEST])
        assert 0 < caught.value.retry_after <= 1
        faults.heal()
        await asyncio.to_thread(faulty.wait)
        await asyncio.sleep(caught.value.retry_after)
        await client.sign(key, Mechanism.ECDSA, [DIGEST])
        assert client.states[0].up

    _run(faulty, use, breakers=[Breaker(lambda up, reason: changes.append((up, reason)))])
    assert changes == [(False, "the device did not answer in time"), (True, "")]


def test_without_a_gate_every_client_says_so_at_once(own: House):
    with pytest.raises(DeviceUnavailableError, match="away"):
        own.gate().session_ca()
    with pytest.raises(DeviceUnavailableError, match="away"):
        _run(own, lambda client: client.random(8))


def test_a_refusal_of_the_gate_is_no_outage(house: House):
    async def use(client: GateClient) -> None:
        for _ in range(2 * FAILURES):
            with pytest.raises(NotPermittedError):
                await client.sign(service_key_id("evidence"), Mechanism.ECDSA, [DIGEST])
        assert client.states[0].up

    _run(house, use)


def test_a_breaker_lets_one_call_try_at_longer_and_longer_intervals():
    now = [0.0]
    breaker = Breaker(clock=lambda: now[0])
    for _ in range(FAILURES):
        breaker.check()
        breaker.failed("silence")
    pauses = []
    for _ in range(8):
        with pytest.raises(DeviceUnavailableError) as caught:
            breaker.check()
        pauses.append(caught.value.retry_after)
        now[0] += pauses[-1]
        breaker.check()
        breaker.failed("silence")
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert max(pauses) == LONGEST_PAUSE
    breaker.succeeded()
    breaker.check()
    breaker.failed("silence")
    breaker.check()


def test_failures_of_calls_that_were_under_way_do_not_lengthen_the_pause():
    breaker = Breaker(clock=lambda: 0.0)
    for _ in range(100):
        breaker.failed("silence")
    with pytest.raises(DeviceUnavailableError) as caught:
        breaker.check()
    assert caught.value.retry_after == 1


def test_what_is_no_wrapped_key_is_refused(house: House):
    call = house.wire().call
    for document in ({}, {"spec": {}}, {"spec": {"key_id": b"x"}, "blob": b""}):
        with pytest.raises(InvalidInputError):
            call("load", document)
