"""Which events a bundle discloses: a filter on headers, and a sample that nobody can pick."""

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from keyvault.domain.audit import Leaf
from keyvault.domain.canonical import Document

EITHER = "of"  # a filter's name for what an event is about, or who did it
FILTER_FIELDS = frozenset({"ty", "out", "op", "st", "ac", "ro", "sc", "n", EITHER})
# Other evidence rests on these: why a payload is not there, and what should have kept it.
ALWAYS = frozenset({"PAYLOAD.ERASED", "PAYLOAD.PURGED", "AUDIT.HOLD_SET", "AUDIT.HOLD_LIFTED"})
MAX_SAMPLE = 10_000

Filter = Mapping[str, Sequence[str]]
"""Header fields and the values to disclose; empty discloses everything."""


@dataclass(frozen=True, slots=True)
class Sample:
    """So many of all events that match, drawn by seed and by the root of the checkpoint."""

    seed: str
    count: int
    population: int
    picked: frozenset[int]

    def document(self) -> Document:
        return {"seed": self.seed, "count": self.count, "population": self.population}


def header_of(leaf: Leaf) -> Document:
    header: Document = json.loads(leaf.data)["h"]
    return header


def matches(header: Document, chosen: Filter) -> bool:
    """Whether a filter covers an event, by its header alone."""
    return all(
        header["st"] in values or header["ac"] in values
        if name == EITHER
        else header[name] in values
        for name, values in chosen.items()
    )


def draw(
    leaves: Iterable[Leaf], start: int, chosen: Filter, seed: str, count: int, root: bytes
) -> Sample:
    """Draw `count` of the events that match, the first leaf being event `start`.

    Those with the smallest SHA-256 over seed, root and index: whoever knows them can repeat it,
    and nobody could know the root while the log was still to be written.
    """
    population, smallest = 0, list[tuple[int, int]]()
    for index, leaf in enumerate(leaves, start):
        header = header_of(leaf)
        if header["ty"] in ALWAYS or not matches(header, chosen):
            continue
        population += 1
        words = f"keyvault-sample-v1\n{seed}\n{root.hex()}\n{index}\n"
        drawn = (-int.from_bytes(sha256(words.encode()).digest()), index)
        (heapq.heappush if len(smallest) < count else heapq.heappushpop)(smallest, drawn)
    return Sample(seed, count, population, frozenset(index for _, index in smallest))
