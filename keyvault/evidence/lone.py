"""A single event with the hashes that lead from it to the root of a checkpoint."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from keyvault.domain.audit import Leaf
from keyvault.domain.canonical import canonical


@dataclass(frozen=True, slots=True)
class Lone:
    """An event, where it stands, and its inclusion proof (RFC 9162, section 2.1.3)."""

    index: int
    leaf: Leaf
    path: Sequence[bytes]

    def line(self) -> bytes:
        """Return the row of a bundle for it, with its newline."""
        leaf = json.loads(self.leaf.data)
        row = {"h": leaf["h"], "i": self.index, "path": [b64encode(h).decode() for h in self.path]}
        if self.leaf.payload:
            row |= {"p": json.loads(self.leaf.payload), "s": b64encode(self.leaf.salt).decode()}
        else:
            row |= {"c": leaf["p"], "e": 1}
        return canonical(row) + b"\n"
