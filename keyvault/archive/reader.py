"""Reading an archive: no database is needed, and nothing is believed that does not add up."""

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from keyvault.archive import (
    AUTHORITY,
    CHECKPOINT,
    ERASURES,
    MANIFEST,
    POLICY,
    VERSION,
    WIDTH,
    payload_path,
)
from keyvault.archive.writer import entries_path
from keyvault.domain.audit import Leaf
from keyvault.domain.chain import Record
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.notes import Checkpoint, Note, NoteError
from keyvault.domain.tree import (
    ReadHash,
    TileReader,
    leaf_hash,
    node_hash,
    tile_path,
    tile_width,
    tree_at,
)

FILE_LIMIT = 100_000_000  # bytes of a file: a bundle of entries has up to 17 MB


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive on disk. Opened by `opened`."""

    folder: Path
    about: dict[str, Any]
    note: bytes

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint.parse(Note.parse(self.note).text)

    @property
    def policy(self) -> bytes:
        return self._read(POLICY) if POLICY in self.about["files"] else b""

    def tsa(self) -> dict[str, bytes]:
        """The files of time stamps, by their names in `tsa/`."""
        names = [name for name in self.about["files"] if name.startswith("tsa/")]
        return {name.removeprefix("tsa/"): self._read(name) for name in names}

    def erasures(self) -> list[bytes]:
        """Why payloads are missing: lines of a bundle, with proofs under this checkpoint."""
        if ERASURES not in self.about["files"]:
            return []
        return self._read(ERASURES).splitlines(keepends=True)

    def authority(self) -> list[Record]:
        return [Record.read(json.loads(x)) for x in self._read(AUTHORITY).splitlines()]

    def hashes(self) -> ReadHash:
        """Return a reader of the tree's hashes."""
        return TileReader(lru_cache(maxsize=64)(self._tile))

    def leaves(self, start: int, end: int) -> Iterator[Leaf]:
        """Yield events [start, end). Raises `InvalidInputError` if the archive has not all."""
        if not self.about["start"] <= start <= end <= self.about["end"]:
            raise InvalidInputError(
                f"the archive holds events {self.about['start']} to {self.about['end'] - 1}",
                next_step="take the archive of another year",
            )
        for number in range(start // WIDTH, -(-end // WIDTH)):
            for index, leaf in enumerate(self._bundle(number), number * WIDTH):
                if start <= index < end:
                    yield leaf

    def span(self, since_ms: int, until_ms: int) -> tuple[int, int]:
        """Return [start, end) around every event of these times, with one more on either side."""
        first = last = None
        for index, leaf in enumerate(self.leaves(*self.range), self.about["start"]):
            at = json.loads(leaf.data)["h"]["t"]
            first = index if first is None and at >= since_ms else first
            last = index if at <= until_ms else last
        low, high = self.range
        start = max((high if first is None else first) - 1, low)
        return start, max(start, min((low - 1 if last is None else last) + 2, high))

    @property
    def range(self) -> tuple[int, int]:
        return self.about["start"], self.about["end"]

    def check(self) -> int:
        """Hold every file against the list, leaves against tiles, tiles against the checkpoint.

        Returns how many events there are. Raises `InvalidInputError` at the first that is wrong.
        """
        for name, digest in self.about["files"].items():
            if sha256(self._read(name)).hexdigest() != digest:
                raise InvalidInputError(f"{name} is not the file that {MANIFEST} names")
        read, wanted = self.hashes(), self.checkpoint
        for index, leaf in enumerate(self.leaves(*self.range), self.about["start"]):
            if read(0, index) != leaf.hash:
                raise InvalidInputError(f"event {index} is not the one in the tiles")
        if tree_at(_from_leaves(read), wanted.size).root != wanted.root:
            raise InvalidInputError("the tiles do not lead to the checkpoint")
        return int(self.about["end"] - self.about["start"])

    def _bundle(self, number: int) -> Iterator[Leaf]:
        path = entries_path(number, self.about["size"])
        data, rows = self._read(path), self._read(payload_path(path)).splitlines()
        at = 0
        for row in rows:
            size = int.from_bytes(data[at : at + 2])
            entry, at = data[at + 2 : at + 2 + size], at + 2 + size
            said = json.loads(row)
            salt, payload = b64decode(said.get("s", "")), said.get("p", "").encode()
            yield Leaf(entry, leaf_hash(entry), salt, payload)
        if at != len(data):
            raise InvalidInputError(f"{path} does not hold as many entries as payloads")

    def _tile(self, level: int, index: int) -> bytes:
        width = tile_width(level, index, self.about["size"])
        return self._read(tile_path(level, index, width)) if width else b""

    def _read(self, name: str) -> bytes:
        try:
            with (self.folder / name).open("rb") as file:
                content = file.read(FILE_LIMIT + 1)
        except OSError as error:
            raise InvalidInputError(f"{name} is missing in the archive") from error
        if len(content) > FILE_LIMIT:
            raise InvalidInputError(f"{name} is over {FILE_LIMIT} bytes")
        return content


def _from_leaves(read: ReadHash) -> ReadHash:
    """Read leaf hashes alone and work out the rest, so that upper tiles are checked as well."""

    def worked_out(level: int, index: int) -> bytes:
        if level == 0:
            return read(0, index)
        node = node_hash(worked_out(level - 1, 2 * index), worked_out(level - 1, 2 * index + 1))
        if level % 8 == 0 and node != read(level, index):
            raise InvalidInputError(f"a tile of level {level // 8} does not follow from its leaves")
        return node

    return worked_out


def opened(folder: Path) -> Archive:
    """Open an archive. Raises `InvalidInputError` if it is none of ours, or of another version."""
    bare = Archive(folder, {"files": {}}, b"")
    try:
        about = json.loads(bare._read(MANIFEST))  # noqa: SLF001  (our own)
        archive = Archive(folder, about, bare._read(CHECKPOINT))  # noqa: SLF001  (our own)
        known = about["v"] == VERSION and archive.checkpoint.size == about["size"]
        safe = all(_is_inside(name) for name in about["files"])
    except (ValueError, KeyError, TypeError, NoteError) as error:
        raise InvalidInputError(f"{folder} is no archive of a log") from error
    if not known or not safe:
        raise InvalidInputError(f"{folder} is no archive of a log of this version")
    return archive


def _is_inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts
