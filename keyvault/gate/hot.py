"""The gates for what is asked all day: an async client, which loads a wrapped key that is missing.

It spreads its calls over the gates of one host, and stops asking for a while what is down.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hsm.errors import DeviceUnavailableError, HsmError, KeyNotFoundError
from hsm.types import Mechanism, VerifyPolicy, WrappedKey
from keyvault import wire
from keyvault.domain.canonical import Document
from keyvault.domain.errors import VaultError
from keyvault.gate.breaker import DEADLINE, GRACE, STATUS_TIMEOUT, Breaker, State, watched
from keyvault.gate.documents import wrapped_document

WHOLE = 16  # digests that one gate signs in a call: parts of less cost more than they bring
SETTLED = 20_000  # keys of which is remembered that one gate serves them

Wrapped = Callable[[bytes], WrappedKey | None]
"""(key id) → the key's wrapped record, or None for a resident key."""
Fresh = Callable[[bytes], WrappedKey | None]
"""(key id) → a wrapped record that was read just now, given once, to go along with the use."""


class _Gate:
    """One of the gates: the way to it, whether it answers, and how much it has to do."""

    def __init__(self, path: Path, breaker: Breaker, deadline: float) -> None:
        self.wire = wire.AsyncClient(path)
        self.breaker = breaker
        self.in_flight = 0
        self._deadline = deadline

    async def call(self, method: str, *args: Any, timeout: float = 0) -> Any:  # noqa: ASYNC109  (handed on to the wire's one timer)
        patience = timeout or self._deadline + GRACE
        self.in_flight += 1
        try:
            with watched(self.breaker, self._deadline):
                return await self.wire.call(method, *args, timeout=patience)
        finally:
            self.in_flight -= 1

    def rouse(self) -> "asyncio.Task[None] | None":
        """Ask one that is down whether it is back, if it is time to; no caller's use is risked."""
        try:
            self.breaker.check()
        except DeviceUnavailableError:
            return None
        return asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        with suppress(HsmError, VaultError):
            await self.call("status", timeout=STATUS_TIMEOUT)


class GateClient:
    """The gates of one token for one event loop. Calls of one turn of the loop share a frame.

    A use of a resident key goes where the fewest calls are in flight, one of a wrapped or a guarded
    key to the gate that its id falls on, so that it is unwrapped once. What is down is left out.

    Every method raises the gate's own errors, `DeviceTimeoutError`, and `DeviceUnavailableError`
    with `retry_after` while all of them are down. A process has one breaker for each gate.
    """

    def __init__(
        self,
        *paths: Path,
        wrapped: Wrapped = lambda _: None,
        fresh: Fresh = lambda _: None,
        breakers: Sequence[Breaker] = (),
        deadline: float = DEADLINE,
    ) -> None:
        given = breakers or [Breaker() for _ in paths]
        self._gates = [_Gate(*one, deadline) for one in zip(paths, given, strict=True)]
        self._wrapped = wrapped
        self._fresh = fresh
        self._settled: dict[bytes, None] = {}
        self._probes: set[asyncio.Task[None]] = set()

    @property
    def states(self) -> list[State]:
        """Of each gate, the first one's first."""
        return [gate.breaker.state for gate in self._gates]

    async def close(self) -> None:
        for probe in self._probes:
            probe.cancel()
        for gate in self._gates:
            await gate.wire.close()

    async def status(self) -> Document:
        return dict(await self._gates[0].call("status", timeout=STATUS_TIMEOUT))

    async def sign(
        self,
        key_id: bytes,
        mechanism: Mechanism,
        data: Sequence[bytes],
        verify: VerifyPolicy = VerifyPolicy.ALWAYS,
    ) -> list[bytes]:
        """Sign up to 1,000 digests. `verify` says how often each is checked before release.

        Many are signed by all gates side by side; if one of them fails, none is given.
        """
        if len(data) > WHOLE and len(self._gates) > 1 and key_id not in self._settled:
            signatures = await self._sign_in_parts(key_id, mechanism, data, verify)
            if signatures:
                return signatures
        return list(await self._use(key_id, "sign", mechanism, data, verify))

    async def verify(
        self, key_id: bytes, mechanism: Mechanism, data: bytes, signature: bytes
    ) -> bool:
        return bool(await self._use(key_id, "verify", mechanism, data, signature))

    async def encrypt(
        self, key_id: bytes, mechanism: Mechanism, data: Sequence[bytes], aad: bytes = b""
    ) -> list[bytes]:
        """Encrypt up to 1,000 texts, each under an IV of its own and all with the same `aad`."""
        return list(await self._use(key_id, "encrypt", mechanism, data, aad))

    async def decrypt(
        self, key_id: bytes, mechanism: Mechanism, data: bytes, aad: bytes = b""
    ) -> bytes:
        return bytes(await self._use(key_id, "decrypt", mechanism, data, aad))

    async def mac(
        self, key_id: bytes, mechanism: Mechanism, data: Sequence[bytes], iv: bytes = b""
    ) -> list[bytes]:
        """MAC up to 1,000 messages; with an `iv` one alone."""
        return list(await self._use(key_id, "mac", mechanism, data, iv))

    async def seal_agreed(
        self, key_id: bytes, terms: Document, series: str, plaintext: bytes, aad: bytes
    ) -> Document:
        """Protect a message under a key agreed on: {"data", "in_module", "highest"}."""
        return dict(await self._use(key_id, "seal_agreed", terms, series, plaintext, aad))

    async def open_agreed(
        self, key_id: bytes, terms: Document, sealed: bytes, aad: bytes
    ) -> Document:
        """The reverse: {"data", "in_module"}. Raises `DataInvalidError` if the tag is wrong."""
        return dict(await self._use(key_id, "open_agreed", terms, sealed, aad))

    async def random(self, size: int) -> bytes:
        return bytes(await self._idlest(self._up()).call("random", size))

    async def _use(self, key_id: bytes, method: str, *args: Any) -> Any:
        fresh = self._fresh(key_id)
        try:
            if fresh is None:
                return await self._gate_of(key_id).call(method, key_id, *args)
            return await self._loaded(fresh, method, key_id, *args)
        except KeyNotFoundError:  # the gate began anew or let go of it, or the record has moved
            wrapped = await asyncio.to_thread(self._wrapped, key_id)
            if wrapped is None:
                raise
        return await self._loaded(wrapped, method, key_id, *args)

    async def _loaded(self, wrapped: WrappedKey, method: str, key_id: bytes, *args: Any) -> Any:
        """Use a key whose record goes before it in the same frame."""
        self._settle(key_id)
        gate = self._gate_of(key_id)
        loading = gate.call("load", wrapped_document(wrapped))
        _, result = await asyncio.gather(loading, gate.call(method, key_id, *args))
        return result

    async def _sign_in_parts(
        self, key_id: bytes, mechanism: Mechanism, data: Sequence[bytes], verify: VerifyPolicy
    ) -> list[bytes]:
        """The signatures in order, or none if one gate has to make all of them."""
        up = self._up()
        size = -(-len(data) // len(up))
        parts = [data[start : start + size] for start in range(0, len(data), size)]
        calls = (
            gate.call("sign_part", key_id, mechanism, part, verify)
            for gate, part in zip(up, parts, strict=False)
        )
        try:
            made = await asyncio.gather(*calls)
        except KeyNotFoundError:
            made = [[]]
        if not all(made):
            self._settle(key_id)
            return []
        return [signature for part in made for signature in part]

    # Which gate

    def _gate_of(self, key_id: bytes) -> _Gate:
        """Whom to ask. Raises `DeviceUnavailableError` while nobody is up."""
        up = self._up()
        if key_id not in self._settled:
            return self._idlest(up)
        number = int.from_bytes(key_id[-4:])
        home = self._gates[number % len(self._gates)]
        return home if home in up else up[number % len(up)]

    def _idlest(self, up: list[_Gate]) -> _Gate:
        """The one with the fewest calls in flight; of several this process's own.

        Always the same: a gate that has just signed is warm. Other processes have others.
        """
        if len(up) == 1:
            return up[0]
        own = os.getpid() % len(up)
        return min(up[own:] + up[:own], key=lambda gate: gate.in_flight)

    def _up(self) -> list[_Gate]:
        up = [gate for gate in self._gates if gate.breaker.state.up]
        if len(up) == len(self._gates):
            return up
        if up:
            down = (gate for gate in self._gates if gate not in up)
            for probe in filter(None, map(_Gate.rouse, down)):
                self._probes.add(probe)
                probe.add_done_callback(self._probes.discard)
            return up
        return [self._tried()]

    def _tried(self) -> _Gate:
        """One of all those that are down, whose turn it is to be asked by a caller's own use."""
        for gate in self._gates[:-1]:
            with suppress(DeviceUnavailableError):
                gate.breaker.check()
                return gate
        self._gates[-1].breaker.check()
        return self._gates[-1]

    def _settle(self, key_id: bytes) -> None:
        """Remember that one gate serves this key."""
        if len(self._gates) == 1:
            return
        self._settled[key_id] = None
        if len(self._settled) > SETTLED:
            del self._settled[next(iter(self._settled))]
