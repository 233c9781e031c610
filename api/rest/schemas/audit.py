"""Events, proofs and exports on the wire."""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Protocol

from pydantic import Field

from api.rest.schemas.common import (
    ABSENT,
    Bytes,
    Hex64,
    Instant,
    Moment,
    Page,
    ScopeText,
    Signature,
    Wire,
)
from api.rest.schemas.requests import OpenDocument
from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.evidence import DISCLOSES, Question, View
from keyvault.domain.life import Moment as Told
from keyvault.domain.people import Role
from keyvault.domain.scopes import Scope
from keyvault.domain.witnessing import Level, Levels
from keyvault.evidence.choosing import MAX_SAMPLE
from keyvault.evidence.views.rows import local
from keyvault.operations.audit import EventQuery
from keyvault.operations.evidence import Wanted

Index = Annotated[int, Field(ge=0, le=2**53 - 1)]
Size = Annotated[int, Field(ge=1, le=2**53 - 1)]
Stream = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[ -~]+$")]
About = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[a-z-]+:[ -~]+$")]
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


class LifeMomentOut(Wire):
    """One event in plain words. `index` is its place in the log, where it can be proved."""

    at: Moment
    local: str = Field(description="The same time as clocks in London showed it")
    index: int
    type: EventType
    outcome: Outcome
    actor: str
    words: str
    level: Level = Field(description="What stands behind it: database, log's signature, witnesses")


class LifeMomentsOut(Page[LifeMomentOut]):
    """What happened to a key, token or person, or was done by them, oldest first."""

    @classmethod
    def of(cls, moments: Iterable[Told], following: str | None, levels: Levels) -> "LifeMomentsOut":
        names = ("at", "index", "type", "outcome", "actor", "words")
        items = [
            LifeMomentOut(
                local=local(one.at),
                level=levels.of(one.index),
                **{name: getattr(one, name) for name in names},
            )
            for one in moments
        ]
        return cls(items=items, next=following)


class ProofOut(Wire):
    """Hashes of RFC 6962, in the order in which its verifiers take them."""

    hashes: list[Hex64]


class InclusionOut(ProofOut):
    """The same, and what stands behind the event."""

    level: Level


class SampleIn(Wire):
    """How many events to draw, and the seed to draw them by."""

    count: Annotated[int, Field(ge=1, le=MAX_SAMPLE)]
    seed: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[ -~]+$")]


class EvidenceIn(Wire):
    """Which part of the log to take away. Everything is optional; the default is all of it."""

    type: EventType = ABSENT
    outcome: Outcome = ABSENT
    stream: Stream = ABSENT
    actor: Actor = ABSENT
    scope: ScopeText = ABSENT
    since: Instant = ABSENT
    until: Instant = ABSENT
    role: Role = ABSENT
    about: About = Field(ABSENT, description="What events are about, or who did them: person:alice")
    question: Question = Field(ABSENT, description="Disclose what it takes to answer this")
    previous_size: Size = Field(
        ABSENT, description="Size of the tree in your last export: proves the growth"
    )
    changes: bool = Field(ABSENT, description="Only what came since `previous_size`")
    sample: SampleIn = Field(ABSENT, description="Disclose so many, which nobody can pick")
    views: Annotated[list[View], Field(max_length=6)] = ABSENT

    def wanted(self) -> Wanted:
        """The same in the words of the house. Raises `InvalidInputError`."""
        query = EventQuery(
            self.type,
            self.outcome,
            self.stream,
            self.actor,
            Scope.parse(self.scope) if self.scope else None,
            self.since,
            self.until,
            role=self.role,
            about=self.about,
            types=DISCLOSES[self.question] if self.question else (),
        )
        draw: SampleIn | None = self.sample
        return Wanted(
            query,
            self.previous_size,
            bool(self.changes),
            sample=draw.count if draw else None,
            seed=draw.seed if draw else "",
            views=tuple(dict.fromkeys(self.views or ())),
        )


class PackIn(Wire):
    """Of which scope a pack is to be."""

    scope: ScopeText


class HandOverIn(Wire):
    """A hand-over of a bundle, as the one who gives it away signed it."""

    entry: OpenDocument
    signature: Signature
