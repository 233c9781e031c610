"""Reading the log: events, hashes for proofs, tiles and checkpoints."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, insert, select, update

from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import NotFoundError
from keyvault.domain.heads import StreamHead
from keyvault.domain.notes import Checkpoint, Note, VerifierKey
from keyvault.domain.scopes import Scope
from keyvault.domain.times import milliseconds
from keyvault.domain.tree import TILE_WIDTH, ReadHash, TileReader, Tree, tile_hash
from keyvault.store import tables
from keyvault.store.heads import stream_heads
from keyvault.store.log import LEEWAY_MS
from keyvault.store.paging import Order, searched_by_few
from keyvault.store.rows import moment, ticks

_EVENT = tables.event
_PAYLOAD = tables.event_payload
_HEAD = tables.log_head
_TILE = tables.tile
_CHECKPOINT = tables.checkpoint
_COSIGNATURE = tables.cosignature
_STAMP = tables.time_stamp
_SINK = tables.sink
_ORDER = Order(_EVENT.c.time_ms, _EVENT.c.idx, int)
_STRIDE = 1_000  # rows read at once
_ROOT_DIGITS = 8  # of a checkpoint, as event headers quote it


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event as it rests. `salt` and `payload` (canonical JSON) are None once erased."""

    index: int
    leaf: bytes
    leaf_hash: bytes
    salt: bytes | None
    payload: bytes | None
    found_by: Mapping[str, Any]  # the copies of header fields that filters use

    @property
    def header(self) -> Document:
        header: Document = json.loads(self.leaf)["h"]
        return header

    @property
    def time(self) -> datetime:
        return moment(self.header["t"] * 1_000)


EventPage = tuple[list[LoggedEvent], str | None]


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A signed note over the log's first `size` leaves."""

    size: int
    note: str
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class StoredStamp:
    """A time stamp (RFC 3161) over the note of the checkpoint of `size`, as it came."""

    size: int
    tsa: str
    reply: bytes
    stamped_at: datetime


class Audit:
    """The room of the log in one transaction, to read from."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def head(self) -> Tree:
        """Return the tree of everything committed."""
        row = self._connection.execute(select(_HEAD.c.size, _HEAD.c.peaks)).one()
        return Tree.from_bytes(row.size.to_bytes(8) + row.peaks)

    def head_root(self) -> tuple[int, bytes]:
        """Return size and root as they stand in the head row: a claim, for the sealer to check."""
        row = self._connection.execute(select(_HEAD.c.size, _HEAD.c.root)).one()
        return row.size, row.root

    def event(self, index: int) -> LoggedEvent:
        """Raises `NotFoundError`."""
        for event in self.events(index, index + 1):
            return event
        raise NotFoundError(f"the log has no event {index}")

    def events(self, start: int, end: int) -> Iterator[LoggedEvent]:
        """Yield events [start, end) in order, as many as there are."""
        for low in range(start, end, _STRIDE):
            within = (_EVENT.c.idx >= low) & (_EVENT.c.idx < min(low + _STRIDE, end))
            rows = self._connection.execute(_events().where(within).order_by(_EVENT.c.idx)).all()
            yield from map(_event, rows)
            if len(rows) < _STRIDE:
                return

    def page(  # noqa: PLR0913  (each filter has its name)
        self,
        *,
        type: EventType | None = None,  # noqa: A002  (the field's name)
        outcome: Outcome | None = None,
        stream: str | None = None,
        actor: str | None = None,
        scope: Scope | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> EventPage:
        """List events by the time in their headers, oldest first, and the next page's cursor.

        `since` is included, `until` is not.
        """
        known = {"type": type, "outcome": outcome, "stream": stream, "actor": actor, "scope": scope}
        times = list(_between(since, until))
        by = searched_by_few(self._connection, list(_equal(known)), times)
        query = _events().where(*by, *times)
        rows, following = _ORDER.page(self._connection, query, after, limit)
        return [_event(row) for row in rows], following

    def without(self, stream: str, kind: EventType, limit: int) -> list[LoggedEvent]:
        """Return the first events of a stream that are of any type but one, the oldest first."""
        chosen = _EVENT.c.stream == stream, _EVENT.c.type != str(kind)
        order = _EVENT.c.time_ms, _EVENT.c.idx
        query = _events().where(*chosen).order_by(*order).limit(limit)
        return [_event(row) for row in self._connection.execute(query)]

    def tally(
        self, stream: str, kind: EventType, since: datetime | None = None
    ) -> tuple[int, datetime | None, datetime | None]:
        """Count the events of a type in a stream, with the times of the first and the last."""
        chosen = _equal({"stream": stream, "type": kind, "outcome": Outcome.OK})
        time = _EVENT.c.time_ms
        query = select(func.count(), func.min(time), func.max(time))
        count, first, last = self._connection.execute(
            query.where(*chosen, *_between(since, None))
        ).one()
        if not count:
            return 0, None, None
        return int(count), moment(first * 1_000), moment(last * 1_000)

    def span(self, since_ms: int, until_ms: int) -> tuple[int, int]:
        """Return [start, end) of the places around every event of these times, both included.

        One event more on either side, where there is one, shows that nothing was left out.
        """
        time, place, size = _EVENT.c.time_ms, _EVENT.c.idx, self.head().size
        first = select(func.min(time)).where(time >= since_ms).scalar_subquery()
        last = select(func.max(time)).where(time <= until_ms).scalar_subquery()
        # No event is older than one before it by more than the leeway, so few are asked for.
        soon, late = time.between(first, first + LEEWAY_MS), time.between(last - LEEWAY_MS, last)
        low = self._connection.scalar(select(func.min(place)).where(soon))
        high = self._connection.scalar(select(func.max(place)).where(late))
        start = max((size if low is None else low) - 1, 0)
        return start, max(start, min((-1 if high is None else high) + 2, size))

    def hashes(self) -> ReadHash:
        """Return a reader of the tree's hashes, good until this transaction ends."""
        return TileReader(lru_cache(maxsize=64)(self._tile))

    def tile(self, level: int, number: int) -> bytes | None:
        """Return a tile as it is stored, or None: partial ones are not."""
        same = (_TILE.c.level == level) & (_TILE.c.number == number)
        hashes: bytes | None = self._connection.scalar(select(_TILE.c.hashes).where(same))
        return hashes

    def _tile(self, level: int, number: int) -> bytes:
        """Return a stored tile, or build it: the sealer stores only what it has checked."""
        stored = self.tile(level, number)
        if stored is not None:
            return stored
        first = number * TILE_WIDTH
        if level == 0:
            return self._leaf_hashes(first, first + TILE_WIDTH)
        if self.head().size >> (8 * level) < first + TILE_WIDTH:
            return b""  # not full: it is worked out from those below
        below = range(first, first + TILE_WIDTH)
        return b"".join(tile_hash(self._tile(level - 1, child)) for child in below)

    def _leaf_hashes(self, start: int, end: int) -> bytes:
        query = select(_EVENT.c.leaf_hash).where(_EVENT.c.idx >= start, _EVENT.c.idx < end)
        return b"".join(self._connection.scalars(query.order_by(_EVENT.c.idx)))

    def checkpoint(self, at_least: int | None = None) -> StoredCheckpoint | None:
        """Return the newest checkpoint, or the smallest that covers `at_least` leaves."""
        query = select(_CHECKPOINT).order_by(_CHECKPOINT.c.size.desc())
        if at_least is not None:
            covering = select(_CHECKPOINT).where(_CHECKPOINT.c.size >= at_least)
            query = covering.order_by(_CHECKPOINT.c.size)
        row = self._connection.execute(query.limit(1)).first()
        return None if row is None else _checkpoint(row)

    def checkpoints(self, after: int = 0, limit: int = 50) -> list[StoredCheckpoint]:
        """List checkpoints of more than `after` leaves, smallest first."""
        query = select(_CHECKPOINT).where(_CHECKPOINT.c.size > after)
        rows = self._connection.execute(query.order_by(_CHECKPOINT.c.size).limit(limit))
        return [_checkpoint(row) for row in rows]

    def latest_checkpoint_size(self) -> int:
        return self._connection.scalar(select(func.max(_CHECKPOINT.c.size))) or 0

    def cosigned(self, size: int) -> str:
        """Return the checkpoint of this size with the lines of all who cosigned it.

        Raises `NotFoundError`.
        """
        query = select(_COSIGNATURE.c.line).where(_COSIGNATURE.c.size == size)
        lines = self._connection.scalars(query.order_by(_COSIGNATURE.c.witness)).all()
        found = self.checkpoint(size)
        if found is None or found.size != size:
            raise NotFoundError(f"there is no checkpoint of size {size}")
        return found.note + "".join(lines)

    def cosigned_sizes(self, at_least: int, lines: int, limit: int) -> list[int]:
        """List the sizes of checkpoints with so many cosignatures or more, largest first."""
        column = _COSIGNATURE.c.size
        query = select(column).where(column >= at_least).group_by(column)
        enough = query.having(func.count() >= lines).order_by(column.desc()).limit(limit)
        return list(self._connection.scalars(enough))

    def cosigned_by(self, witness: VerifierKey) -> int:
        """Return the largest size that this witness has cosigned, or 0."""
        largest = select(func.max(_COSIGNATURE.c.size))
        return self._connection.scalar(largest.where(_COSIGNATURE.c.witness == witness.vkey)) or 0

    def stamp(self, tsa: str) -> StoredStamp | None:
        """Return the newest time stamp of an authority."""
        newest = select(_STAMP).where(_STAMP.c.tsa == tsa).order_by(_STAMP.c.size.desc())
        row = self._connection.execute(newest.limit(1)).first()
        return None if row is None else _stamp(row)

    def stamps_around(self, start: int, end: int, size: int) -> list[StoredStamp]:
        """Return the stamps that bracket events [start, end) of a log of `size`.

        Those over the largest checkpoint up to `start`, which were made before the events, and
        those over the smallest that covers them, or else the newest, which were made after.
        """
        sizes = select(_STAMP.c.size).where(_STAMP.c.size <= size)
        largest = sizes.order_by(_STAMP.c.size.desc()).limit(1)
        before = self._connection.scalar(largest.where(_STAMP.c.size <= start))
        after = self._connection.scalar(sizes.where(_STAMP.c.size >= end).order_by(_STAMP.c.size))
        chosen = {before, after or self._connection.scalar(largest)} - {None}
        query = select(_STAMP).where(_STAMP.c.size.in_(sorted(chosen)))
        rows = self._connection.execute(query.order_by(_STAMP.c.size, _STAMP.c.tsa))
        return [_stamp(row) for row in rows]

    def position(self, sink: str) -> int:
        """Return how many events a stream out has taken."""
        taken = select(_SINK.c.position).where(_SINK.c.name == sink)
        return self._connection.scalar(taken) or 0

    def of_scope(self, scope: Scope, size: int) -> Iterator[LoggedEvent]:
        """Yield those of the first `size` events that are of a scope, in order."""
        after, same = -1, _EVENT.c.scope == str(scope)
        while True:
            page = _events().where(same, _EVENT.c.idx > after, _EVENT.c.idx < size)
            rows = self._connection.execute(page.order_by(_EVENT.c.idx).limit(_STRIDE)).all()
            yield from map(_event, rows)
            if len(rows) < _STRIDE:
                return
            after = rows[-1].idx

    def heads(self, size: int) -> Iterator[StreamHead]:
        """Yield the heads of all streams, actors and scopes of the first `size` events."""
        return stream_heads(self._connection, size)

    def newest_of(self, stream: str) -> LoggedEvent | None:
        """Return the last event of a stream."""
        query = _events().where(_EVENT.c.stream == stream)
        newest = query.order_by(_EVENT.c.time_ms.desc(), _EVENT.c.idx.desc()).limit(1)
        row = self._connection.execute(newest).first()
        return None if row is None else _event(row)


class Seals:
    """What is made of the log itself and is no event: tiles, checkpoints and cosignatures."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_tile(self, level: int, number: int, hashes: bytes) -> None:
        row = {"level": level, "number": number, "hashes": hashes}
        self._connection.execute(insert(_TILE).values(row))

    def add_checkpoint(self, size: int, note: str, signed_at: datetime) -> None:
        """Store a signed note and let events quote it. Raises `NoteError` if it is none."""
        checkpoint = Checkpoint.parse(Note.parse(note.encode()).text)
        row = {"size": size, "note": note, "signed_at": ticks(signed_at)}
        self._connection.execute(insert(_CHECKPOINT).values(row))
        quoted = f"{checkpoint.size}:{checkpoint.root.hex()[:_ROOT_DIGITS]}"
        self._connection.execute(update(_HEAD).values(checkpoint=quoted))

    def add_cosignature(self, size: int, witness: VerifierKey, line: str) -> None:
        """Keep a witness's line, which the caller has verified; the first one stays."""
        row = {"size": size, "witness": witness.vkey, "line": line}
        same = (_COSIGNATURE.c.size == size) & (_COSIGNATURE.c.witness == witness.vkey)
        if not self._connection.scalar(select(func.count()).where(same)):
            self._connection.execute(insert(_COSIGNATURE).values(row))

    def move(self, sink: str, position: int) -> None:
        """Say how many events a stream out has taken."""
        moved = update(_SINK).where(_SINK.c.name == sink).values(position=position)
        if not self._connection.execute(moved).rowcount:
            self._connection.execute(insert(_SINK).values(name=sink, position=position))

    def add_time_stamp(self, stamp: StoredStamp) -> None:
        """Keep a time stamp, which the caller has verified; the first one stays."""
        row = {"size": stamp.size, "tsa": stamp.tsa, "reply": stamp.reply}
        same = (_STAMP.c.size == stamp.size) & (_STAMP.c.tsa == stamp.tsa)
        if not self._connection.scalar(select(func.count()).where(same)):
            stamped_at = ticks(stamp.stamped_at)
            self._connection.execute(insert(_STAMP).values({**row, "stamped_at": stamped_at}))


def _equal(filters: Mapping[str, object]) -> Iterator[ColumnElement[bool]]:
    for name, value in filters.items():
        if value is not None:
            yield _EVENT.c[name] == str(value)


def _between(since: datetime | None, until: datetime | None) -> Iterator[ColumnElement[bool]]:
    if since is not None:
        yield _EVENT.c.time_ms >= milliseconds(since)
    if until is not None:
        yield _EVENT.c.time_ms < milliseconds(until)


def _events() -> Select[Any]:
    joined = _EVENT.outerjoin(_PAYLOAD, _EVENT.c.idx == _PAYLOAD.c.idx)
    return select(_EVENT, _PAYLOAD.c.salt, _PAYLOAD.c.payload).select_from(joined)


def _event(row: Row[Any]) -> LoggedEvent:
    found_by = {
        "ty": row.type,
        "out": row.outcome,
        "st": row.stream,
        "ac": row.actor,
        "sc": row.scope,
        "t": row.time_ms,
    }
    return LoggedEvent(row.idx, row.leaf, row.leaf_hash, row.salt, row.payload, found_by)


def _checkpoint(row: Row[Any]) -> StoredCheckpoint:
    return StoredCheckpoint(row.size, row.note, moment(row.signed_at))


def _stamp(row: Row[Any]) -> StoredStamp:
    return StoredStamp(row.size, row.tsa, row.reply, moment(row.stamped_at))
