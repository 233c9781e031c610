"""The Merkle tree of RFC 6962."""

from __future__ import annotations

import hashlib

from keyvault.evidence.verifier.words import (
    HASH_SIZE,
    lines_of,
    need,
    unbase64,
)


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A growing tree, kept as the roots of its full subtrees, largest first."""

    def __init__(self, size: int, peaks: list[bytes]) -> None:
        self.size, self.peaks = size, peaks

    def push(self, node: bytes, level: int = 0) -> None:
        bits = self.size >> level
        while bits & 1:
            node, bits = node_hash(self.peaks.pop(), node), bits >> 1
        self.peaks.append(node)
        self.size += 1 << level

    def root(self) -> bytes:
        node = self.peaks[-1] if self.peaks else hashlib.sha256().digest()
        for peak in self.peaks[-2::-1]:
            node = node_hash(peak, node)
        return node

    def close(self, right: list[bytes], size: int) -> bytes:
        """Append what a range proof has on the right; return the root of the tree of `size`."""
        while 0 < self.size < size:
            level = (self.size & -self.size).bit_length() - 1
            if self.size + (1 << level) > size:
                break
            need(right, "the proof is too short")
            self.push(right.pop(0), level)
        need(len(right) == (self.size < size), "the proof has the wrong length")
        self.peaks += right
        return self.root()


def read_proof(data: bytes) -> tuple[list[int], Frontier, list[bytes]]:
    """Read a range proof: its start, end and size, what is left and what is right of it."""
    magic, numbers, *lines = lines_of(data)
    start, end, size = parts = [int(part) for part in numbers.split(b" ")]
    need(magic == b"keyvault-range-proof-v1", "is no range proof")
    need(numbers == b"%d %d %d" % (start, end, size) and 0 <= start <= end <= size, "has no range")
    hashes = [unbase64(line.decode()) for line in lines]
    peaks = bin(start).count("1")  # noqa: FURB161 - bit_count came with Python 3.10
    sound = all(len(item) == HASH_SIZE for item in hashes)
    need(len(hashes) >= peaks and sound, "does not hold its hashes")
    return parts, Frontier(start, hashes[:peaks]), hashes[peaks:]
