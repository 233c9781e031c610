"""Which events a bundle has to disclose: its filter, and a sample that nobody could pick."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterator
from typing import Any

from keyvault.evidence.verifier.archive import EVENTS, Bundle
from keyvault.evidence.verifier.words import need

EITHER = "of"  # in a filter: what the event is about, or who did it
# Other evidence rests on these: why a payload is not there, and what should have kept it.
ALWAYS = ("PAYLOAD.ERASED", "PAYLOAD.PURGED", "AUDIT.HOLD_SET", "AUDIT.HOLD_LIFTED")


class Choice:
    """What the manifest says was asked for, applied to one header after another."""

    def __init__(self, manifest: Any, root: bytes, bundle: Bundle) -> None:
        self.filter, self.sample = manifest["filter"], manifest.get("sample")
        self.picked: set[int] = set()
        if self.sample is not None:
            self.pick(bundle, root)

    def matches(self, header: Any) -> bool:
        return all(
            header[name] in values
            if name != EITHER
            else header["st"] in values or header["ac"] in values
            for name, values in self.filter.items()
        )

    def wanted(self, index: int, header: Any) -> bool:
        """Whether an event has to be disclosed; all others have to be withheld."""
        if header["ty"] in ALWAYS:
            return True
        return self.matches(header) and (self.sample is None or index in self.picked)

    def pick(self, bundle: Bundle, root: bytes) -> None:
        """Draw the sample again: of all that match, those with the smallest hashes."""
        sample, population = self.sample, 0
        smallest: list[tuple[int, int]] = []
        for index in self.population(bundle):
            population += 1
            drawn = (-int.from_bytes(rank(sample["seed"], root, index), "big"), index)
            if len(smallest) < sample["count"]:
                heapq.heappush(smallest, drawn)
            else:
                heapq.heappushpop(smallest, drawn)
        self.picked = {index for _, index in smallest}
        need(sample["population"] == population, f"the sample is of {population} events, not more")

    def population(self, bundle: Bundle) -> Iterator[int]:
        for line in bundle.lines(EVENTS):
            row = json.loads(line)
            if row["h"]["ty"] not in ALWAYS and self.matches(row["h"]):
                yield row["i"]


def rank(seed: str, root: bytes, index: int) -> bytes:
    """Nobody knows it before the root: the log had to be what it is."""
    words = f"keyvault-sample-v1\n{seed}\n{root.hex()}\n{index}\n"
    return hashlib.sha256(words.encode()).digest()
