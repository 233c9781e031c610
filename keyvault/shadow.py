"""The log's arithmetic a second time, for whoever checks what others have written.

It trusts neither the hashes that were stored nor the code that stored them: every leaf is hashed
anew, and the tree is grown in another way than the writer grows it.
"""

import hashlib
import json
from base64 import b64encode

from keyvault.domain.errors import VaultError
from keyvault.domain.tree import ReadHash, tree_at
from keyvault.store import LoggedEvent

WIDTH, HEIGHT = 256, 8  # of a tile


class BrokenLogError(VaultError):
    """The stored log contradicts itself or what was signed. Nothing is sealed on top of it."""

    code = "log-broken"

    def __init__(self, message: str) -> None:
        super().__init__(message, next_step="stop, keep every copy, see runbook log-broken")


class Shadow:
    """The tree a second time: peaks as (leaves, hash), and the tiles that are not yet full."""

    def __init__(self, read: ReadHash, size: int) -> None:
        tree = tree_at(read, size)
        counts = [1 << bit for bit in range(size.bit_length()) if size >> bit & 1]
        self._peaks = list(zip(reversed(counts), tree.peaks, strict=True))
        self._rows: list[list[bytes]] = []
        self.size = size
        self.full: list[tuple[int, int, bytes]] = []
        while size >> (HEIGHT * len(self._rows)):
            level = HEIGHT * len(self._rows)
            nodes = size >> level
            self._rows.append([read(level, at) for at in range(nodes - nodes % WIDTH, nodes)])

    def add(self, leaf_hash: bytes) -> None:
        """Append a leaf; tiles that it fills are put into `full` as (level, number, hashes)."""
        count, node = 1, leaf_hash
        while self._peaks and self._peaks[-1][0] == count:
            node = _parent(self._peaks.pop()[1], node)
            count *= 2
        self._peaks.append((count, node))
        self._tile(0, leaf_hash)
        self.size += 1

    @property
    def root(self) -> bytes:
        node = b""
        for _, peak in reversed(self._peaks):
            node = _parent(peak, node) if node else peak
        return node or hashlib.sha256().digest()

    def _tile(self, level: int, node: bytes) -> None:
        if level == len(self._rows):
            self._rows.append([])
        row = self._rows[level]
        row.append(node)
        if len(row) == WIDTH:
            self._rows[level] = []
            number = (self.size + 1 >> HEIGHT * (level + 1)) - 1
            self.full.append((level, number, b"".join(row)))
            while len(row) > 1:
                row = [_parent(row[at], row[at + 1]) for at in range(0, len(row), 2)]
            self._tile(level + 1, row[0])


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def check_event(event: LoggedEvent, place: int) -> None:
    """Compare an event's stored bytes with everything that was derived from them."""
    if event.index != place:
        raise BrokenLogError(f"event {place} is missing")
    if hashlib.sha256(b"\x00" + event.leaf).digest() != event.leaf_hash:
        raise BrokenLogError(f"event {place} was changed after it was hashed")
    try:
        leaf = json.loads(event.leaf)
        filed = {name: leaf["h"][name] for name in event.found_by} == event.found_by
        committed = leaf["p"]
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenLogError(f"event {place} is no event") from error
    if not filed:
        raise BrokenLogError(f"event {place} is filed under what it is not")
    if event.payload is not None and event.salt is not None:
        commitment = hashlib.sha256(event.salt + event.payload).digest()
        if b64encode(commitment).decode() != committed:
            raise BrokenLogError(f"the payload of event {place} was changed")
