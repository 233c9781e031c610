"""The Merkle tree of RFC 6962 over SHA-256: roots, proofs, and the tiles they are stored in.

Proofs read the hashes of *full* subtrees only, through a `ReadHash`, so they cost O(log n) reads
however the hashes are kept. `read(level, index)` is the root of the 2**level leaves that start
at leaf index * 2**level.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()
MAX_SIZE = 2**63 - 1
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT

ReadHash = Callable[[int, int], bytes]
Proof = Sequence[bytes]


class ProofError(ValueError):
    """A proof has the wrong shape, or does not lead to the root it should."""


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over these leaf hashes (or equally high subtree roots), 32 bytes."""
    if not hashes:
        return EMPTY_ROOT
    row = list(hashes)
    while len(row) > 1:
        odd = row[-1:] if len(row) % 2 else []
        row = [*map(node_hash, row[0::2], row[1::2]), *odd]
    return row[0]


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree kept as the roots of its full subtrees, largest first: one per set bit of `size`."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE or len(self.peaks) != self.size.bit_count():
            raise ProofError(f"a tree of {self.size} leaves cannot have {len(self.peaks)} peaks")
        if any(len(peak) != HASH_SIZE for peak in self.peaks):
            raise ProofError(f"a peak is not {HASH_SIZE} bytes")

    def plus(self, leaf: bytes) -> "Tree":
        """Return the tree with one more leaf, given by its leaf hash."""
        return self.plus_subtree(0, leaf)

    def plus_all(self, leaves: Iterable[bytes]) -> "Tree":
        """Return the tree with these leaf hashes appended in their order."""
        size, peaks = self.size, list(self.peaks)
        for leaf in leaves:
            node, bits = leaf, size
            while bits & 1:
                node, bits = node_hash(peaks.pop(), node), bits >> 1
            peaks.append(node)
            size += 1
        return Tree(size, tuple(peaks))

    def plus_subtree(self, level: int, node: bytes) -> "Tree":
        """Append a full subtree of 2**level leaves; `size` must be a multiple of that."""
        if self.size & ((1 << level) - 1):
            raise ProofError(f"a subtree of level {level} cannot start at leaf {self.size}")
        peaks, bits = self.peaks, self.size >> level
        while bits & 1:
            node, peaks, bits = node_hash(peaks[-1], node), peaks[:-1], bits >> 1
        return Tree(self.size + (1 << level), (*peaks, node))

    @property
    def root(self) -> bytes:
        return _fold(self.peaks) if self.peaks else EMPTY_ROOT

    def at(self, size: int, read: ReadHash) -> "Tree":
        """Return this tree as it was with `size` leaves. Only what has grown since is read.

        The largest subtrees of both are the same, so a log's newest pages do, however long it is.
        """
        mine = dict(zip(_places(0, self.size), self.peaks, strict=True))
        return tree_at(lambda *place: mine.get(place) or read(*place), size)

    def to_bytes(self) -> bytes:
        """Return the size as 8 bytes, big-endian, then the peaks."""
        return self.size.to_bytes(8, "big") + b"".join(self.peaks)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Tree":
        """Read what `to_bytes` wrote. Raises `ProofError` on any other bytes."""
        if len(data) < 8 or (len(data) - 8) % HASH_SIZE:  # noqa: PLR2004 - the size field
            raise ProofError(f"{len(data)} bytes are no tree")
        return cls(int.from_bytes(data[:8], "big"), tuple(_split(data[8:])))


# Making proofs ------------------------------------------------------------------------------


class HashReader:
    """A `ReadHash` over leaf hashes in memory. Each subtree is hashed once."""

    def __init__(self, leaf_hashes: Sequence[bytes]) -> None:
        self._rows: list[Sequence[bytes]] = [leaf_hashes]

    def __call__(self, level: int, index: int) -> bytes:
        while len(self._rows) <= level:
            row = self._rows[-1]
            self._rows.append([*map(node_hash, row[0::2], row[1::2])])
        return self._rows[level][index]


def tree_at(read: ReadHash, size: int) -> Tree:
    """Return the tree as it was when it had `size` leaves."""
    return Tree(size, tuple(_peaks(read, 0, size)))


def inclusion_proof(read: ReadHash, index: int, size: int) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962 section 2.1.1: siblings from the leaf upwards."""
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")
    start, end, path = 0, size, []
    while end - start > 1:
        middle = _middle(start, end)
        if index < middle:
            path.append(_root(read, middle, end))
            end = middle
        else:
            path.append(_root(read, start, middle))
            start = middle
    return path[::-1]


def consistency_proof(read: ReadHash, old: int, new: int) -> list[bytes]:
    """PROOF(old, D[new]) of RFC 6962 section 2.1.2; empty from 0 and between equal sizes."""
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} leaves does not follow one of {old}")
    if old == 0:
        return []
    start, end, path = 0, new, []
    while end != old:
        middle = _middle(start, end)
        if old <= middle:
            path.append(_root(read, middle, end))
            end = middle
        else:
            path.append(_root(read, start, middle))
            start = middle
    if start:
        path.append(_root(read, start, end))
    return path[::-1]


@dataclass(frozen=True, slots=True)
class RangeProof:
    """What a tree of `size` leaves holds beside leaves [start, end), in leaf order.

    `left` are the peaks of the tree of `start` leaves. `right` are the siblings that the tree
    of `end` leaves meets on its way up, and last the root of what is left over. Together at
    most 2 * log2(size) hashes.
    """

    start: int
    end: int
    size: int
    left: tuple[bytes, ...]
    right: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end <= self.size <= MAX_SIZE:
            raise ProofError(f"[{self.start}, {self.end}) is no range of {self.size} leaves")


def range_proof(read: ReadHash, start: int, end: int, size: int) -> RangeProof:
    """Prove that consecutive leaves [start, end), which may be none, stand in the tree."""
    RangeProof(start, end, size, (), ())  # refuses a bad range before anything is read
    right = [read(level, at >> level) for level, at in _climb(end, size)]
    rest = end + sum(1 << level for level, _ in _climb(end, size))
    if rest < size:
        right.append(_root(read, rest, size))
    return RangeProof(start, end, size, tuple(_peaks(read, 0, start)), tuple(right))


# Checking proofs ----------------------------------------------------------------------------


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Proof, root: bytes) -> None:
    """Check as RFC 9162 section 2.1.3.2 says. Raises `ProofError`."""
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")
    node, position, last = leaf, index, size - 1
    for sibling in proof:
        if last == 0:
            raise ProofError("inclusion proof is too long")
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    if last or node != root:
        raise ProofError(f"leaf {index} is not in the tree of {size} leaves with this root")


def verify_consistency(old: int, new: int, proof: Proof, old_root: bytes, new_root: bytes) -> None:
    """Check as RFC 9162 section 2.1.4.2 says; from 0 the proof is empty. Raises `ProofError`."""
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} leaves does not follow one of {old}")
    if old in (0, new):
        if proof or old_root != (EMPTY_ROOT if old == 0 else new_root):
            raise ProofError(f"the trees of {old} and {new} leaves are not consistent")
        return
    path = [old_root, *proof] if old.bit_count() == 1 else list(proof)
    if not path or _roots(old, new, path) != (old_root, new_root):
        raise ProofError(f"the tree of {new} leaves does not contain the one of {old}")


def root_from_range(proof: RangeProof, leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root of the tree that holds these leaves there. Raises `ProofError`."""
    tree = Tree(proof.start, proof.left).plus_all(leaf_hashes)
    if tree.size != proof.end:
        raise ProofError(f"range [{proof.start}, {proof.end}) but {tree.size - proof.start} leaves")
    right = list(proof.right)
    for level, _ in _climb(proof.end, proof.size):
        if not right:
            raise ProofError("range proof is too short")
        tree = tree.plus_subtree(level, right.pop(0))
    if len(right) != (tree.size < proof.size):
        raise ProofError("range proof has the wrong length")
    return _fold((*tree.peaks, *right)) if proof.size else EMPTY_ROOT


# Tiles of c2sp.org/tlog-tiles ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TileCoords:
    """Where a subtree's hash is found: `count` hashes of a tile, from number `first`."""

    level: int
    index: int
    first: int
    count: int


def tile_coords(level: int, index: int) -> TileCoords:
    """Map a subtree of 2**level leaves to its tile. The tile's level counts in steps of 8."""
    tile_level, height = divmod(level, TILE_HEIGHT)
    tile_index, first = divmod(index << height, TILE_WIDTH)
    return TileCoords(tile_level, tile_index, first, 1 << height)


def tile_hash(tile: bytes, first: int = 0, count: int = TILE_WIDTH) -> bytes:
    """Return the root over `count` hashes of a tile. Raises `ProofError` if it is shorter."""
    part = tile[first * HASH_SIZE : (first + count) * HASH_SIZE]
    if len(part) != count * HASH_SIZE:
        raise ProofError(f"a tile of {len(tile)} bytes has no hashes {first} to {first + count}")
    return root_of(_split(part))


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return the resource name, such as `tile/0/x001/x234/067` or `tile/1/000.p/17`."""
    thousands, last = divmod(index, 1000)
    parts = [f"{last:03d}"]
    while thousands:
        thousands, part = divmod(thousands, 1000)
        parts.insert(0, f"x{part:03d}")
    partial = f".p/{width}" if width < TILE_WIDTH else ""
    return f"tile/{level}/{'/'.join(parts)}{partial}"


def tile_width(level: int, index: int, size: int) -> int:
    """Return how many hashes (0 to 256) this tile has in a tree of `size` leaves."""
    hashes = size >> (TILE_HEIGHT * level)
    return min(max(hashes - index * TILE_WIDTH, 0), TILE_WIDTH)


def completed_tiles(old: int, new: int) -> Iterator[tuple[int, int]]:
    """Yield (level, index) of the tiles that fill up as the tree grows, lower levels first."""
    level = 0
    while new >> (TILE_HEIGHT * (level + 1)):
        shift = TILE_HEIGHT * (level + 1)
        yield from ((level, index) for index in range(old >> shift, new >> shift))
        level += 1


def build_tile(read: ReadHash, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
    """Return the tile's bytes, 32 for each hash."""
    first = index * TILE_WIDTH
    return b"".join(read(TILE_HEIGHT * level, first + number) for number in range(width))


class TileReader:
    """A `ReadHash` over stored tiles.

    `fetch(level, index)` returns a tile's bytes, or b"" when it is not stored. Every full tile
    must be, and the partial one of level 0; higher partial tiles are worked out from those.
    """

    def __init__(self, fetch: Callable[[int, int], bytes]) -> None:
        self._fetch = fetch

    def __call__(self, level: int, index: int) -> bytes:
        at = tile_coords(level, index)
        tile = self._fetch(at.level, at.index)
        if len(tile) >= (at.first + at.count) * HASH_SIZE or at.level == 0:
            return tile_hash(tile, at.first, at.count)
        first = at.index * TILE_WIDTH + at.first
        below = range(first, first + at.count)
        return root_of([tile_hash(self._fetch(at.level - 1, tile)) for tile in below])


# Arithmetic of ranges -----------------------------------------------------------------------


def _split(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def _fold(peaks: Sequence[bytes]) -> bytes:
    node = peaks[-1]
    for peak in peaks[-2::-1]:
        node = node_hash(peak, node)
    return node


def _middle(start: int, end: int) -> int:
    """RFC 6962's k: the left half is the largest power of two smaller than the whole."""
    return start + (1 << ((end - start - 1).bit_length() - 1))


def _places(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield level and index of the full subtrees that make up leaves [start, end)."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def _peaks(read: ReadHash, start: int, end: int) -> Iterator[bytes]:
    return (read(*place) for place in _places(start, end))


def _root(read: ReadHash, start: int, end: int) -> bytes:
    return _fold([*_peaks(read, start, end)])


def _climb(end: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (level, first leaf) of the full right siblings above leaf `end`, until none fits."""
    while 0 < end < size:
        level = (end & -end).bit_length() - 1
        if end + (1 << level) > size:
            return
        yield level, end
        end += 1 << level


def _roots(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Walk a consistency proof from the last leaf of the old tree up to both roots."""
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("consistency proof is too long")
        if position & 1 or position == last:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new_node = node_hash(new_node, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofError("consistency proof is too short")
    return old_node, new_node
