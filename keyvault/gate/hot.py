"""The gate for what is asked all day: an async client, which loads a wrapped key that is missing.

It stops asking for a while when the device is down.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hsm.errors import KeyNotFoundError
from hsm.types import Mechanism, VerifyPolicy, WrappedKey
from keyvault import wire
from keyvault.domain.canonical import Document
from keyvault.gate.breaker import DEADLINE, GRACE, STATUS_TIMEOUT, Breaker, State, watched
from keyvault.gate.documents import wrapped_document

Wrapped = Callable[[bytes], WrappedKey | None]
"""(key id) → the key's wrapped record, or None for a resident key."""


class GateClient:
    """The gate for one event loop. Calls of one turn of the loop share a frame.

    Every method raises the gate's own errors, `DeviceTimeoutError`, and `DeviceUnavailableError`
    with `retry_after` while the device is down. A process has one `breaker` for all its clients.
    """

    def __init__(
        self,
        path: Path,
        *,
        wrapped: Wrapped = lambda _: None,
        breaker: Breaker | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._wire = wire.AsyncClient(path)
        self._wrapped = wrapped
        self._deadline = deadline
        self._breaker = breaker or Breaker()

    @property
    def state(self) -> State:
        return self._breaker.state

    async def close(self) -> None:
        await self._wire.close()

    async def status(self) -> Document:
        return dict(await self._once("status", timeout=STATUS_TIMEOUT))

    async def sign(
        self,
        key_id: bytes,
        mechanism: Mechanism,
        data: Sequence[bytes],
        verify: VerifyPolicy = VerifyPolicy.ALWAYS,
    ) -> list[bytes]:
        """Sign up to 1,000 digests. `verify` says how often each is checked before release."""
        return list(await self._use(key_id, "sign", mechanism, data, verify))

    async def verify(
        self, key_id: bytes, mechanism: Mechanism, data: bytes, signature: bytes
    ) -> bool:
        return bool(await self._use(key_id, "verify", mechanism, data, signature))

    async def encrypt(
        self, key_id: bytes, mechanism: Mechanism, data: bytes, aad: bytes = b""
    ) -> bytes:
        return bytes(await self._use(key_id, "encrypt", mechanism, data, aad))

    async def decrypt(
        self, key_id: bytes, mechanism: Mechanism, data: bytes, aad: bytes = b""
    ) -> bytes:
        return bytes(await self._use(key_id, "decrypt", mechanism, data, aad))

    async def mac(self, key_id: bytes, mechanism: Mechanism, data: bytes, iv: bytes = b"") -> bytes:
        return bytes(await self._use(key_id, "mac", mechanism, data, iv))

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
        self._breaker.check()
        return bytes(await self._once("random", size))

    async def _use(self, key_id: bytes, method: str, *args: Any) -> Any:
        self._breaker.check()
        try:
            return await self._once(method, key_id, *args)
        except KeyNotFoundError:
            wrapped = await asyncio.to_thread(self._wrapped, key_id)
            if wrapped is None:
                raise
        loading = self._once("load", wrapped_document(wrapped))
        _, result = await asyncio.gather(loading, self._once(method, key_id, *args))  # one frame
        return result

    async def _once(self, method: str, *args: Any, timeout: float = 0) -> Any:  # noqa: ASYNC109  (handed on to the wire's one timer)
        patience = timeout or self._deadline + GRACE
        with watched(self._breaker, self._deadline):
            return await self._wire.call(method, *args, timeout=patience)
