"""Heads of streams: how many events each stream, actor and scope has, and the last of them.

Their Merkle root is sealed in an event, so that whoever is shown one stream alone can tell that
its last events were not cut off. A head names the commitment of its last event, which nobody can
guess: a proof of one head says nothing of the others.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from keyvault.domain.canonical import Document, canonical
from keyvault.domain.tree import leaf_hash

STREAM = "stream-heads"


@dataclass(frozen=True, slots=True)
class StreamHead:
    """`name` is `stream/…`, `actor/…` or `scope/…`; `last` the commitment as its leaf has it."""

    name: str
    count: int
    last: str

    def document(self) -> Document:
        return {"name": self.name, "count": self.count, "last": self.last}

    @property
    def leaf(self) -> bytes:
        return leaf_hash(canonical(self.document()))


def ordered(heads: Iterable[StreamHead]) -> list[StreamHead]:
    """In the order of their tree."""
    return sorted(heads, key=lambda head: head.name.encode())
