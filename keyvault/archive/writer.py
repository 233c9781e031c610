"""Writing an archive: every file flushed to disk, and the list of them written last."""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from keyvault import durable
from keyvault.archive import (
    AUTHORITY,
    CHECKPOINT,
    ENTRIES,
    ERASURES,
    MANIFEST,
    POLICY,
    VERSION,
    WIDTH,
    payload_path,
)
from keyvault.domain.audit import Leaf
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.chain import Record
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.notes import Checkpoint, Note
from keyvault.domain.tree import ReadHash, build_tile, tile_path, tile_width


@dataclass(frozen=True, slots=True)
class Year:
    """What goes into an archive. `leaves` are events [start, end), an erased payload is empty.

    Bundles of entries are whole: start is a multiple of 256, and so is end, or the log's own end.
    """

    year: int
    start: int
    end: int
    checkpoint: bytes
    read: ReadHash
    leaves: Iterable[Leaf]
    authority: Sequence[Record]
    software: str
    created_at: str
    erasures: Sequence[bytes] = ()
    policy: bytes = b""
    tsa: Mapping[str, bytes] = field(default_factory=dict)


def write(folder: Path, year: Year) -> str:
    """Write an archive into a new folder; return the SHA-256 of its list of files, in hex.

    What it holds is not checked here but by whoever reads it, see `keyvault.archive.reader`.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InvalidInputError(
            f"{folder} is not empty and is left alone", next_step="name a new folder"
        )
    files: dict[str, str] = {}
    for name, content in _files(year):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        durable.create(place, content)
        files[name] = sha256(content).hexdigest()
    manifest = canonical({**_about(year), "files": files})
    durable.create(folder / MANIFEST, manifest)
    return sha256(manifest).hexdigest()


def _files(year: Year) -> Iterator[tuple[str, bytes]]:
    yield from _entries(year)
    yield from _tiles(year.read, _size(year))
    yield AUTHORITY, b"".join(canonical(r.document()) + b"\n" for r in year.authority)
    if year.erasures:
        yield ERASURES, b"".join(year.erasures)
    if year.policy:
        yield POLICY, year.policy
    for name, content in year.tsa.items():
        yield f"tsa/{name}", content
    yield CHECKPOINT, year.checkpoint  # last: who finds one finds all that it covers


def _size(year: Year) -> int:
    return Checkpoint.parse(Note.parse(year.checkpoint).text).size


def _about(year: Year) -> Document:
    checkpoint = Checkpoint.parse(Note.parse(year.checkpoint).text)
    return {
        "v": VERSION,
        "origin": checkpoint.origin,
        "year": year.year,
        "start": year.start,
        "end": year.end,
        "size": checkpoint.size,
        "created_at": year.created_at,
        "software": year.software,
    }


def _tiles(read: ReadHash, size: int) -> Iterator[tuple[str, bytes]]:
    level = 0
    while size >> (8 * level):
        for index in range(((size >> (8 * level)) + WIDTH - 1) // WIDTH):
            width = tile_width(level, index, size)
            yield tile_path(level, index, width), build_tile(read, level, index, width)
        level += 1


def _entries(year: Year) -> Iterator[tuple[str, bytes]]:
    size, held = _size(year), []
    for index, leaf in enumerate(year.leaves, year.start):
        held.append(leaf)
        if (index + 1) % WIDTH == 0 or index + 1 == year.end:
            yield from _bundle(index // WIDTH, held, size)
            held = []


def _bundle(number: int, leaves: list[Leaf], size: int) -> Iterator[tuple[str, bytes]]:
    path = entries_path(number, size)
    yield path, b"".join(len(leaf.data).to_bytes(2) + leaf.data for leaf in leaves)
    yield payload_path(path), b"".join(map(_payload, leaves))


def entries_path(number: int, size: int) -> str:
    """Name a bundle of entries in a log of `size`."""
    path = tile_path(0, number, tile_width(0, number, size))
    return path.replace("tile/0/", f"tile/{ENTRIES}/", 1)


def _payload(leaf: Leaf) -> bytes:
    if not leaf.salt:
        return b"{}\n"
    row = {"p": leaf.payload.decode(), "s": b64encode(leaf.salt).decode()}
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"
