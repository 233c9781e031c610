"""The ZIP: stored files whose every other byte is what it has to be, read piece by piece."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator
from typing import IO

from keyvault.evidence.verifier.words import need

MAX_LINE, MAX_PART, MAX_FILES = 1 << 20, 1 << 26, 100_000  # bytes, bytes, and how many
CHUNK = 1 << 20  # bytes
EVENTS, AUTHORITY, LEAVES = "events.ndjson", "authority.ndjson", "leaf-hashes.bin"
NEWEST, PREVIOUS = "checkpoints/newest.note", "checkpoints/previous.note"
POLICY, ERASURES = "checkpoints/policy", "erasures.ndjson"
HEADS = "heads.ndjson"
REQUIRED = {"README.txt", "VERIFY.txt", "verify.py", "manifest.json", "manifest.sig"} | {
    *("custody.json", "range.proof", "checkpoints/keys", EVENTS, AUTHORITY, LEAVES, NEWEST)
}
OF_PACK = {"README.txt", "verify.py", "manifest.json", "manifest.sig", EVENTS, HEADS, NEWEST} | {
    "checkpoints/keys"
}
OPTIONAL = re.compile(
    r"checkpoints/(previous\.note|consistency\.proof|policy)|erasures\.ndjson|heads\.ndjson|tsa/[a-z0-9.-]{1,80}"
    r"|views/[a-z0-9.-]{1,80}|proofs/(0|[1-9][0-9]{0,18})\.tlog-proof"
)


class Bundle:
    """The files of a bundle. Large ones are read in pieces, as often as somebody asks."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.places: dict[str, tuple[int, int]] = {}  # name: where it begins, and its size
        self.digests: dict[str, str] = {}
        directory, at = b"", 0
        while self.at(at, 4) == b"PK\x03\x04":
            entry, at = self.take(at)
            directory += entry
        count = len(self.places)
        counts = struct.pack("<4H2IH", 0, 0, count, count, len(directory), at, 0)
        end = directory + b"PK\x05\x06" + counts
        need(self.at(at, len(end) + 1) == end, "is not a ZIP as the service writes it")
        self.is_pack = HEADS in self.places and AUTHORITY not in self.places
        wanted = OF_PACK if self.is_pack else REQUIRED
        missing = ", ".join(sorted(wanted.difference(self.places)))
        need(not missing, f"the bundle lacks {missing}")

    def at(self, place: int, size: int) -> bytes:
        self.file.seek(place)
        return self.file.read(size)

    def take(self, at: int) -> tuple[bytes, int]:
        """Read a file's header and content; return its line of the directory, and its end."""
        head = self.at(at, 30)
        crc, size, _, length = struct.unpack_from("<3IH", head, 14)
        fixed = struct.pack("<5H3I2H", 20, 0, 0, 0, 33, crc, size, size, length, 0)
        raw = self.at(at + 30, length)
        name = raw.decode("ascii")
        need(head[4:] == fixed, f"ZIP header of {name[:80]!r} is not as written")
        allowed = name in REQUIRED or OPTIONAL.fullmatch(name)
        fresh = name not in self.places and len(self.places) < MAX_FILES
        need(allowed and fresh, f"unexpected file {name[:80]!r} in the ZIP")
        self.places[name] = (at + 30 + length, size)
        found, whole, digest = 0, 0, hashlib.sha256()
        for piece in self.pieces(name):
            found, whole = zlib.crc32(piece, found), whole + len(piece)
            digest.update(piece)
        need(whole == size and found == crc, f"ZIP entry {name!r} is damaged")
        self.digests[name] = digest.hexdigest()
        attributes = struct.pack("<HHHII", 0, 0, 0, 0o100600 << 16, at)
        return b"PK\x01\x02\x14\x03" + fixed + attributes + raw, at + 30 + length + size

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def size(self, name: str) -> int:
        return self.places[name][1]

    def read(self, name: str) -> bytes:
        """Return a whole file, unless it is larger than any but events may be."""
        need(self.size(name) <= MAX_PART, f"{name} is over {MAX_PART >> 20} MiB")
        return b"".join(self.pieces(name))

    def pieces(self, name: str, size: int = CHUNK) -> Iterator[bytes]:
        at, left = self.places[name]
        while left:
            piece = self.at(at, min(size, left))
            if not piece:
                return
            yield piece
            at, left = at + len(piece), left - len(piece)

    def items(self, name: str, size: int) -> Iterator[bytes]:
        """Yield a file in items of `size` bytes, which has to divide `CHUNK`."""
        for piece in self.pieces(name):
            yield from (piece[at : at + size] for at in range(0, len(piece), size))

    def lines(self, name: str) -> Iterator[bytes]:
        rest = b""
        for piece in self.pieces(name):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
            need(len(rest) <= MAX_LINE, "row is too long")
        need(not rest, "does not end with a newline")
