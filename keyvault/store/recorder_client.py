"""How the api speaks to the recorder: both ends of the one call that it makes."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import UUID

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError, LogUnavailableError
from keyvault.domain.scopes import Scope
from keyvault.store.log import Receipt
from keyvault.wire import AsyncClient

TIMEOUT = 30.0  # seconds
Once = tuple[str, str, bytes, Sequence[bytes]]
"""(principal, Idempotency-Key, SHA-256 of the call, its results): answers a repeated call."""


class RecorderClient:
    """Appends events for one event loop; calls made at once travel and commit together."""

    def __init__(self, socket: Path) -> None:
        self._wire = AsyncClient(socket)

    async def append(
        self,
        event: AuditEvent,
        *,
        expect: Mapping[str, int] | None = None,
        once: Once | None = None,
        authority: str = "",
    ) -> Receipt:
        """Write an event; when this returns it is durable. `expect` is key id → version.

        `authority` is the short hash of the record under which it was decided, or empty where
        nothing was. Raises `AuthorityChangedError` if that is not the newest any more,
        `KeyStateError` if a key is not at that version, `ConflictError` if the call was made
        before, `LogUnavailableError` if there is nobody to write it.
        """
        record = Record(event, dict(expect or {}), once, authority)
        try:
            index, leaf_hash = await self._wire.call("append", *record.pack(), timeout=TIMEOUT)
        except (ConnectionError, TimeoutError) as error:
            raise LogUnavailableError(
                f"the recorder is not there: {error}", next_step="see that the recorder runs"
            ) from error
        return Receipt(index, leaf_hash)

    async def close(self) -> None:
        await self._wire.close()


class Record(NamedTuple):
    """What travels: an event, what it was made under, and the call that it answers."""

    event: AuditEvent
    expect: dict[str, int]
    once: Once | None
    authority: str = ""

    def pack(self) -> list[Any]:
        return [_document(self.event), self.expect, self.once, self.authority]

    @classmethod
    def unpack(cls, values: list[Any]) -> Self:
        """Read what `pack` wrote. Raises `InvalidInputError`."""
        try:
            document, expect, once, authority = values
            versions = {_id(key): int(version) for key, version in expect.items()}
            known = None if once is None else _once(once)
            return cls(_event(document), versions, known, str(authority))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInputError("not a record of an event") from error


_scope = lru_cache(maxsize=1024)(Scope.parse)  # a few, in every event


@lru_cache(maxsize=4096)
def _id(text: str) -> str:
    return str(UUID(text))


def _document(event: AuditEvent) -> Document:
    return {
        "type": str(event.type),
        "outcome": str(event.outcome),
        "operation": event.operation.bytes,
        "stream": event.stream,
        "actor": event.actor,
        "role": event.role,
        "scope": None if event.scope is None else str(event.scope),
        "payload": event.payload,
    }


def _event(document: Document) -> AuditEvent:
    scope = document["scope"]
    return AuditEvent(
        type=EventType(document["type"]),
        outcome=Outcome(document["outcome"]),
        operation=UUID(bytes=document["operation"]),
        stream=str(document["stream"]),
        actor=str(document["actor"]),
        payload=dict(document["payload"]),
        role=str(document["role"]),
        scope=None if scope is None else _scope(scope),
    )


def _once(values: list[Any]) -> Once:
    principal, key, fingerprint, results = values
    return str(principal), str(key), bytes(fingerprint), [bytes(result) for result in results]
