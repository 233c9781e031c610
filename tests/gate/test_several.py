"""Two gates of one token: both serve, none falls behind, and a key that is gone is gone in both."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from hsm.errors import DeviceUnavailableError, HsmError, KeyNotFoundError, KeyUnusableError
from hsm.types import Mechanism, VerifyPolicy, WrappedKey
from keyvault import wire
from keyvault.domain.commands import ActivateKey, AllowUse, DestroyKey
from keyvault.domain.errors import InvalidInputError, KeyStateError, UseNotAllowedError, VaultError
from keyvault.gate.client import Gate, silence_of
from keyvault.gate.documents import wrapped_document, wrapped_of
from keyvault.gate.hot import WHOLE, GateClient
from keyvault.gate.register import STALE
from tests.gate.house import (
    DEADLINE,
    DIGEST,
    ORDINARY,
    House,
    active,
    ask,
    copy,
    do,
    order,
    signed,
    worker_of,
)

ECDSA = Mechanism.ECDSA
PATIENCE = 60.0  # seconds until a gate has to be back


@pytest.fixture(scope="module")
def pair(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house whose keys have two gates, side by side."""
    pair = copy(house, tmp_path_factory.mktemp("pair"))
    pair.path.write_text(pair.path.read_text().replace("[keys]\n", "[keys]\nworkers = 2\n"))
    try:
        pair.start()
        first = pair.running.pop("keys")
        second = pair.spawn("keys", "--worker", "2")
        pair.running = {"keys": first, "keys-2": second}
        _until(lambda: not silence_of(pair.settings.keys.sockets[1]))
        yield pair
    finally:
        pair.close()


@pytest.fixture
def gate(pair: House) -> Gate:
    """The first of them, to which people's orders go."""
    return pair.gate()


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def _run(pair: House, use: Callable[[GateClient], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        client = GateClient(*pair.settings.keys.sockets, deadline=DEADLINE, **options)
        try:
            return await use(client)
        finally:
            await client.close()

    return asyncio.run(run())


def _asked(pair: House, number: int, method: str, *args: Any) -> Any:
    """Ask one of the two gates itself."""
    with closing(wire.Client(pair.settings.keys.sockets[number - 1])) as client:
        return client.call(method, *args)


def _counted(pair: House, what: str) -> list[int]:
    return [_asked(pair, number, "status")[what] for number in (1, 2)]


def _bulk(gate: Gate) -> WrappedKey:
    return wrapped_of(active(gate, order(key_class="bulk"))["wrapped"])


def test_both_gates_serve_a_resident_key(pair: House, gate: Gate):
    key = active(gate)["key_id"]
    before = _counted(pair, "calls")

    async def use(client: GateClient) -> None:
        await asyncio.gather(*(client.sign(key, ECDSA, [DIGEST]) for _ in range(40)))

    _run(pair, use)
    grown = [now - then for now, then in zip(_counted(pair, "calls"), before, strict=True)]
    assert min(grown) >= 15


def test_many_digests_are_signed_by_both_and_come_back_in_order(pair: House, gate: Gate):
    key = active(gate)["key_id"]
    digests = [bytes([n]) * 32 for n in range(WHOLE + 25)]
    before = _counted(pair, "calls")

    async def use(client: GateClient) -> bool:
        signatures = await client.sign(key, ECDSA, digests, VerifyPolicy.NEVER)
        assert [now - then for now, then in zip(_counted(pair, "calls"), before, strict=True)] == [
            *(2, 2)  # the part, and the question how many there were
        ]
        pairs = zip(digests, signatures, strict=True)
        return all(await asyncio.gather(*(client.verify(key, ECDSA, *one) for one in pairs)))

    assert _run(pair, use)


def test_no_part_of_a_batch_is_given_if_one_gate_refuses_its_own(pair: House, gate: Gate):
    key = active(gate)["key_id"]
    digests = [DIGEST] * WHOLE + [b"too short to be a digest"]
    with pytest.raises(HsmError):
        _run(pair, lambda client: client.sign(key, ECDSA, digests, VerifyPolicy.NEVER))


def test_a_wrapped_key_is_unwrapped_in_one_of_them(pair: House, gate: Gate):
    wrapped = _bulk(gate)
    key, before = wrapped.spec.key_id, sum(_counted(pair, "unwraps"))

    async def use(client: GateClient) -> None:
        for _ in range(6):
            await asyncio.gather(*(client.sign(key, ECDSA, [DIGEST]) for _ in range(4)))
        signatures = await client.sign(key, ECDSA, [DIGEST] * (WHOLE + 1))
        assert len(signatures) == WHOLE + 1

    _run(pair, use, wrapped=lambda _: wrapped)
    assert sum(_counted(pair, "unwraps")) - before <= 1  # none, if it is the one that made it


def test_ten_uses_that_were_allowed_are_ten_whichever_gate_is_asked(pair: House, gate: Gate):
    key = active(gate, order(key_class="guarded"))["key_id"]
    do(gate, AllowUse(UUID(bytes=key), 10, 1, "a batch that was agreed"))

    async def use(client: GateClient) -> list[Any]:
        calls = (client.sign(key, ECDSA, [DIGEST]) for _ in range(30))
        return await asyncio.gather(*calls, return_exceptions=True)

    made = _run(pair, use)
    assert sum(isinstance(one, list) for one in made) == 10
    assert sum(isinstance(one, UseNotAllowedError) for one in made) == 20


def test_a_batch_of_a_guarded_key_is_allowed_as_a_whole_or_not_at_all(pair: House, gate: Gate):
    key = active(gate, order(key_class="guarded"))["key_id"]
    do(gate, AllowUse(UUID(bytes=key), WHOLE + 4, 1, "a batch that was agreed"))

    async def use(client: GateClient) -> None:
        with pytest.raises(UseNotAllowedError):
            await client.sign(key, ECDSA, [DIGEST] * (WHOLE + 5))
        assert len(await client.sign(key, ECDSA, [DIGEST] * (WHOLE + 4))) == WHOLE + 4
        with pytest.raises(UseNotAllowedError):
            await client.sign(key, ECDSA, [DIGEST])

    _run(pair, use)


def test_what_the_first_gate_writes_the_second_knows_at_its_next_look(pair: House, gate: Gate):
    sign = partial(_asked, pair, 2, "sign")
    key = do(gate, order())["key_id"]
    how = str(ECDSA), [DIGEST], str(VerifyPolicy.ALWAYS)
    time.sleep(STALE)
    with pytest.raises(KeyStateError, match="pre-active"):
        sign(key, *how)
    do(gate, ActivateKey(UUID(bytes=key), "it is time"))
    time.sleep(STALE)
    assert len(sign(key, *how)) == 1
    gate.stop(key, "suspended")
    time.sleep(STALE)
    with pytest.raises(KeyStateError, match="suspended"):
        sign(key, *how)


def _held_by_the_second(pair: House, gate: Gate) -> tuple[WrappedKey, tuple[Any, ...]]:
    """A wrapped key that the second gate has unwrapped, and a use of it there."""
    wrapped = _bulk(gate)
    use = (wrapped.spec.key_id, str(ECDSA), [DIGEST], str(VerifyPolicy.ALWAYS))
    _asked(pair, 2, "load", wrapped_document(wrapped))
    assert len(_asked(pair, 2, "sign", *use)) == 1
    return wrapped, use


def test_a_key_that_was_destroyed_is_in_neither_gate(pair: House, gate: Gate):
    wrapped, use = _held_by_the_second(pair, gate)
    before = _asked(pair, 2, "status")["calls"]
    do(gate, DestroyKey(UUID(bytes=wrapped.spec.key_id), "for a test"))
    assert _asked(pair, 2, "status")["calls"] == before + 2  # "forget", and the question before
    with pytest.raises((KeyStateError, KeyNotFoundError)):
        _asked(pair, 2, "sign", *use)
    with pytest.raises(KeyUnusableError, match="destroyed"):
        _asked(pair, 2, "load", wrapped_document(wrapped))


def test_a_gate_that_forgets_a_key_has_to_unwrap_it_again(pair: House, gate: Gate):
    wrapped, use = _held_by_the_second(pair, gate)
    before = _asked(pair, 2, "status")["unwraps"]
    _asked(pair, 2, "forget", wrapped.spec.key_id)
    with pytest.raises(KeyNotFoundError):
        _asked(pair, 2, "sign", *use)
    _asked(pair, 2, "load", wrapped_document(wrapped))
    _asked(pair, 2, "sign", *use)
    assert _asked(pair, 2, "status")["unwraps"] == before + 1


def test_no_key_counts_as_destroyed_while_a_gate_may_hold_it(pair: House, gate: Gate):
    wrapped, _ = _held_by_the_second(pair, gate)
    request = ask(DestroyKey(UUID(bytes=wrapped.spec.key_id), "for a test"), ORDINARY).document
    approvals, worker = signed(request), worker_of(pair.running["keys-2"])
    os.kill(worker, signal.SIGSTOP)
    try:
        with pytest.raises(DeviceUnavailableError, match="let go") as caught:
            gate.execute(request, approvals)
        assert "reconcile" in caught.value.next_step
    finally:
        os.kill(worker, signal.SIGCONT)
    assert gate.execute(request, approvals) == {"destroyed": 0}


def test_the_death_of_one_is_no_end_of_service_and_it_comes_back(pair: House, gate: Gate):
    key, worker = active(gate)["key_id"], worker_of(pair.running["keys-2"])

    async def caller(client: GateClient, told: list[bytes], stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                told += await client.sign(key, ECDSA, [DIGEST])
            except DeviceUnavailableError:
                await asyncio.sleep(0.01)

    async def use(client: GateClient) -> None:
        told, stop = list[bytes](), asyncio.Event()
        callers = [asyncio.create_task(caller(client, told, stop)) for _ in range(8)]
        await _grown(told)
        os.kill(worker, signal.SIGKILL)
        await _grown(told)
        until = time.monotonic() + PATIENCE
        while not await asyncio.to_thread(_serves, pair, worker):
            assert time.monotonic() < until
        stop.set()
        await asyncio.gather(*callers)
        checks = (client.verify(key, ECDSA, DIGEST, one) for one in told)
        assert all(await asyncio.gather(*checks))

    _run(pair, use)


async def _grown(told: list[bytes]) -> None:
    before, until = len(told), time.monotonic() + PATIENCE
    while len(told) < before + 20:
        assert time.monotonic() < until
        await asyncio.sleep(0.01)


def _serves(pair: House, dead: int) -> bool:
    """Whether the second gate has another worker, and that is called."""
    try:
        status = _asked(pair, 2, "status")
    except (OSError, HsmError, VaultError):
        return False
    return bool(status["pid"] != dead and status["calls"] > 20)


def test_the_gates_beside_the_first_use_keys_and_nothing_else(pair: House):
    for method in ("execute", "authority", "stop", "sign_manifest", "own_key", "issue_counters"):
        with pytest.raises(InvalidInputError, match="no method"):
            _asked(pair, 2, method)
