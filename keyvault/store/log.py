"""Appending to the log: the one way in which events are written.

A transaction locks the head row last, gives its events the next places, counters and clocks,
and moves the head. Whoever writes often keeps a `Memory` of what it wrote: as long as the head
row is what it left there, nobody has committed anything since, for every commit has an event.
"""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, bindparam, insert, select, text, update
from sqlalchemy.engine import Dialect

from keyvault.domain.audit import SALT_SIZE, AuditEvent, Leaf, Stamp, leaf_of
from keyvault.domain.errors import LogUnavailableError
from keyvault.domain.tree import Tree
from keyvault.store import tables
from keyvault.store.engine import Standing
from keyvault.store.prepared import MANY, Prepared

_HEAD = tables.log_head
_COUNTER = tables.stream_head
_COUNTERS = select(_COUNTER.c.name, _COUNTER.c.next).where(_COUNTER.c.name.in_(MANY))
_RANDOM = 10  # bytes of a UUIDv7 that are not time
LEEWAY_MS = 60_000  # what verifiers allow the clocks of several hosts to differ
_MEMORY_LIMIT = 200_000  # counters or key versions, some 200 bytes each
_STARTED = time.monotonic_ns()
BOOT = uuid4().hex[:16]  # names this run of this process


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an event stands, for ever: its index, and the hash that a proof leads from."""

    index: int
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The head row: the tree so far, and what every event quotes."""

    tree: Tree
    checkpoint: str
    authority: str
    latest_ms: int


@dataclass(slots=True)
class Memory:
    """What the last transaction left behind: its connection, counters, and versions of keys."""

    standing: Standing | None = None
    tree: Tree | None = None
    counters: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    def trust(self, tree: Tree) -> None:
        """Keep what is known if the head is still `tree`, or else forget it all."""
        if tree != self.tree or max(len(self.counters), len(self.versions)) > _MEMORY_LIMIT:
            self.tree = tree
            self.counters.clear()
            self.versions.clear()


class Log:
    """The log in one transaction that writes."""

    def __init__(self, connection: Connection, node: str, memory: Memory | None = None) -> None:
        self._connection = connection
        self._node = node
        self._statements = _statements(connection.dialect)
        self._head: Head | None = None
        self.memory = memory or Memory()

    def lock(self) -> Head:
        """Lock the head row, once, and read it. From here on nobody else can commit."""
        if self._head is None:
            row = self._statements.head.first(self._connection)
            if row is None:
                raise LogUnavailableError("the log has no head", next_step="run: keyvault migrate")
            size, peaks, *quoted = row
            self._head = Head(Tree.from_bytes(size.to_bytes(8) + peaks), *quoted)
            self.memory.trust(self._head.tree)
        return self._head

    def append(self, events: Sequence[AuditEvent], authority: str | None = None) -> list[Receipt]:
        """Write events and move the head; the caller commits.

        `authority` is in force after them. Raises `InvalidInputError` if one is too long.
        """
        head = self.lock()
        now = _clock(head)
        self.memory.tree = None  # until the head is written, its counters are of no tree
        stamps = self._stamps(events, head, now)
        leaves = list(map(leaf_of, events, stamps, _chances(SALT_SIZE, len(events))))
        self._write_events(head.tree.size, events, stamps, leaves)
        tree = head.tree.plus_all(leaf.hash for leaf in leaves)
        latest = max(now, head.latest_ms)
        self._write_head(Head(tree, head.checkpoint, authority or head.authority, latest))
        return [Receipt(head.tree.size + at, leaf.hash) for at, leaf in enumerate(leaves)]

    def _stamps(self, events: Sequence[AuditEvent], head: Head, now: int) -> list[Stamp]:
        names = [_counted(event, self._node) for event in events]
        self._load({name for three in names for name in three})
        since_start, chances = _uptime_ms(), _chances(_RANDOM, len(events))
        stamps = [
            Stamp(
                event_id=_event_id(now, chance),
                stream_number=self._next(stream),
                actor_number=self._next(actor),
                node=self._node,
                boot=BOOT,
                node_number=self._next(node),
                time_ms=now,
                monotonic_ms=since_start,
                checkpoint=head.checkpoint,
                authority=head.authority,
            )
            for (stream, actor, node), chance in zip(names, chances, strict=True)
        ]
        self._write_counters({name for three in names for name in three})
        return stamps

    def _load(self, names: set[str]) -> None:
        counters = self.memory.counters
        unknown = names - counters.keys()
        if unknown:
            counters.update(dict.fromkeys(unknown, 0))
            counters.update(self._statements.counters.among(self._connection, sorted(unknown)))

    def _next(self, name: str) -> int:
        number = self.memory.counters[name]
        self.memory.counters[name] = number + 1
        return number

    def _write_counters(self, names: Iterable[str]) -> None:
        counters = self.memory.counters
        rows = [(name, counters[name]) for name in sorted(names)]
        self._statements.counter.execute(self._connection, rows)

    def _write_events(
        self,
        size: int,
        events: Sequence[AuditEvent],
        stamps: Sequence[Stamp],
        leaves: Sequence[Leaf],
    ) -> None:
        rows = [
            _row(size + at, event, stamp, leaf)
            for at, (event, stamp, leaf) in enumerate(zip(events, stamps, leaves, strict=True))
        ]
        self._statements.event.execute(self._connection, rows)
        payloads = [(index, leaf.salt, leaf.payload) for index, leaf in enumerate(leaves, size)]
        self._statements.payload.execute(self._connection, payloads)

    def _write_head(self, head: Head) -> None:
        tree = head.tree
        row = tree.size, b"".join(tree.peaks), tree.root, head.authority, head.latest_ms
        self._statements.move.execute(self._connection, [row])
        self.memory.tree = head.tree
        self._head = head


class _Statements:
    def __init__(self, dialect: Dialect) -> None:
        head = select(*(_HEAD.c[name] for name in ("size", "peaks", *_QUOTED)))
        self.head = Prepared(head.with_for_update(), dialect)
        self.counters = Prepared(_COUNTERS, dialect)
        event = ("idx", "leaf", "leaf_hash", *_FOUND_BY)
        self.event = Prepared(insert(tables.event), dialect, event)
        payload = ("idx", "salt", "payload")
        self.payload = Prepared(insert(tables.event_payload), dialect, payload)
        self.counter = Prepared(
            text(
                "INSERT INTO stream_head (name, next) VALUES (:name, :next) "
                "ON CONFLICT (name) DO UPDATE SET next = excluded.next"
            ),
            dialect,
            ("name", "next"),
            (),
        )
        moved: dict[str, Any] = {name: bindparam(f"new_{name}") for name in _MOVED}
        self.move = Prepared(
            update(_HEAD).values(**moved), dialect, [f"new_{n}" for n in _MOVED], ()
        )


_QUOTED = ("checkpoint", "authority", "latest_ms")
_MOVED = ("size", "peaks", "root", "authority", "latest_ms")
_FOUND_BY = ("type", "outcome", "stream", "actor", "scope", "time_ms")
_statements = lru_cache(maxsize=8)(_Statements)


def _clock(head: Head) -> int:
    """Read the wall clock in ms. A log whose times jump back proves nothing about time."""
    now = time.time_ns() // 1_000_000
    if now < head.latest_ms - LEEWAY_MS:
        raise LogUnavailableError(
            f"this host's clock is {(head.latest_ms - now) // 1000} s behind the log",
            next_step="set the clocks of all hosts right (NTP), then try again",
        )
    return now


def _counted(event: AuditEvent, node: str) -> tuple[str, str, str]:
    return f"stream/{event.stream}", f"actor/{event.actor}", f"node/{node}"


def _uptime_ms() -> int:
    return (time.monotonic_ns() - _STARTED) // 1_000_000


def _chances(size: int, count: int) -> list[bytes]:
    """Return so many random values, all from one call of the kernel."""
    drawn = os.urandom(size * count)
    return [drawn[at : at + size] for at in range(0, size * count, size)]


def _event_id(now_ms: int, chance: bytes) -> str:
    """Make a UUIDv7 (RFC 9562): 48 bits of time, then chance around version and variant."""
    digits = f"{now_ms:012x}{chance.hex()}"
    variant = "89ab"[chance[2] & 3]
    halves = digits[:8], digits[8:12], f"7{digits[13:16]}", f"{variant}{digits[17:20]}"
    return f"{'-'.join(halves)}-{digits[20:]}"


def _row(index: int, event: AuditEvent, stamp: Stamp, leaf: Leaf) -> tuple[Any, ...]:
    scope = str(event.scope or "")
    found_by = str(event.type), str(event.outcome), event.stream, event.actor, scope, stamp.time_ms
    return index, leaf.data, leaf.hash, *found_by
