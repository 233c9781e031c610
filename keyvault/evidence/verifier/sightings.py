"""Which states of the log somebody saw: the tree has to agree with every one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from keyvault.evidence.verifier.merkle import Frontier
from keyvault.evidence.verifier.words import need

FORKED = "the log is not the one that was seen before: history was rewritten"


class Sightings:
    """Sizes and roots, and the event that quotes them. On disk: a long log has a million."""

    def __init__(self) -> None:
        self.base = sqlite3.connect("")  # a file without a name, gone with the program
        self.base.execute(
            "CREATE TABLE seen (size INTEGER, root TEXT, event INTEGER, PRIMARY KEY (size, root))"
            " WITHOUT ROWID"
        )
        self.last = (-1, "")

    def add(self, size: int, root: str, event: int) -> None:
        if (size, root) != self.last:
            self.last = (size, root)
            self.base.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (size, root, event))

    def clashes(
        self, tree: Frontier, leaves: Iterable[bytes], known: dict[int, bytes]
    ) -> Iterator[int]:
        """Grow the tree by these leaves; yield the events that saw another tree than this.

        `known` are roots of other sizes; where one is empty, it is filled in on the way.
        """
        seen = iter(self.base.execute("SELECT size, root, event FROM seen ORDER BY size"))
        following = next(seen, None)
        for leaf in self.then_none(leaves):
            if tree.size in known:
                before, known[tree.size] = known[tree.size], tree.root()
                need(before in (b"", known[tree.size]), FORKED)
            while following is not None and following[0] <= tree.size:
                size, digits, event = following
                root = tree.root() if size == tree.size else known.get(size)
                if root and not root.hex().startswith(digits):
                    yield event
                following = next(seen, None)
            if leaf is not None:
                tree.push(leaf)

    @staticmethod
    def then_none(leaves: Iterable[bytes]) -> Iterator[bytes | None]:
        yield from leaves
        yield None
