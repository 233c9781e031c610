"""Events, proofs and exports on the wire."""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Protocol

from pydantic import Field

from api.rest.schemas.common import ABSENT, Bytes, Hex64, Instant, Page, ScopeText, Wire
from api.rest.schemas.requests import OpenDocument
from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.witnessing import Level, Levels

Index = Annotated[int, Field(ge=0, le=2**53 - 1)]
Size = Annotated[int, Field(ge=1, le=2**53 - 1)]
Stream = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[ -~]+$")]
Actor = Annotated[str, Field(pattern=r"^(person|system|service):[a-z0-9-]{1,63}$")]


class Logged(Protocol):
    """An event as the store gives it."""

    @property
    def index(self) -> int: ...
    @property
    def leaf(self) -> bytes: ...
    @property
    def leaf_hash(self) -> bytes: ...
    @property
    def salt(self) -> bytes | None: ...
    @property
    def payload(self) -> bytes | None: ...
    @property
    def header(self) -> dict[str, Any]: ...


class EventOut(Wire):
    """An event with all it takes to check it.

    SHA-256(0x00 || leaf) is the leaf hash; the leaf commits to SHA-256(salt || payload). Salt and
    payload are null once erased.
    """

    index: int
    leaf_hash: Hex64
    leaf: Bytes
    header: OpenDocument
    salt: Bytes | None
    payload: OpenDocument | None
    level: Level = Field(description="What stands behind it: database, log's signature, witnesses")

    @classmethod
    def of(cls, event: Logged, level: Level) -> "EventOut":
        return cls(
            index=event.index,
            leaf_hash=event.leaf_hash.hex(),
            leaf=event.leaf,
            header=event.header,
            salt=event.salt,
            payload=None if event.payload is None else json.loads(event.payload),
            level=level,
        )


class EventsOut(Page[EventOut]):
    """Events, oldest first."""

    @classmethod
    def of(cls, events: Iterable[Logged], following: str | None, levels: Levels) -> "EventsOut":
        shown = [EventOut.of(event, levels.of(event.index)) for event in events]
        return cls(items=shown, next=following)


class ProofOut(Wire):
    """Hashes of RFC 6962, in the order in which its verifiers take them."""

    hashes: list[Hex64]


class InclusionOut(ProofOut):
    """The same, and what stands behind the event."""

    level: Level


class EvidenceIn(Wire):
    """Which part of the log to take away. Everything is optional; the default is all of it."""

    type: EventType = ABSENT
    outcome: Outcome = ABSENT
    stream: Stream = ABSENT
    actor: Actor = ABSENT
    scope: ScopeText = ABSENT
    since: Instant = ABSENT
    until: Instant = ABSENT
    previous_size: Size = Field(
        ABSENT, description="Size of the tree in your last export: proves the growth"
    )
