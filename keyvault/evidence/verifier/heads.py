"""Heads of streams: how many events each has, as an event of the log has sealed it."""

from __future__ import annotations

from typing import Any

from keyvault.evidence.verifier.archive import HEADS, Bundle
from keyvault.evidence.verifier.lone import read_lone, root_from
from keyvault.evidence.verifier.merkle import Frontier
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.words import dumps, loads, need, sha256_hex, unbase64

SEALED = "AUDIT.STREAM_HEADS"


class Heads:
    """The newest root of them, and what the events come to, where all of them are there."""

    def __init__(self, bundle: Bundle, report: Report) -> None:
        self.bundle, self.report = bundle, report
        self.size, self.index, self.count, self.root = -1, -1, 0, b""
        self.found: dict[str, tuple[int, str]] = {}
        self.agreed = False

    def check(self, size: int, root: bytes) -> None:
        """Read the event that sealed them, and in a pack the one head that is shown."""
        if HEADS not in self.bundle:
            return
        first, *_ = self.bundle.lines(HEADS)
        self.report.at(HEADS, 0)
        self.index, header, payload, _ = read_lone(first, size, root)
        sealed = header["ty"] == SEALED and header["out"] == "ok" and payload is not None
        need(sealed and payload["size"] <= self.index, "is no event that seals heads of streams")
        self.size, self.count = payload["size"], payload["count"]
        self.root = bytes.fromhex(payload["root"])

    def shown(self, name: str) -> tuple[int, str]:
        """Count and last commitment of a head that the bundle proves."""
        self.report.at(HEADS, 1)
        _, *lines = self.bundle.lines(HEADS)
        need(len(lines) == 1, "does not show one head")
        head = loads(lines[0])
        at, path = head.pop("at"), [unbase64(item) for item in head.pop("path")]
        need(head["name"] == name, "is the head of something else")
        leaf = bytes.fromhex(sha256_hex(b"\0" + dumps(head)))
        need(root_from(leaf, at, self.count, path) == self.root, "is not the head that was sealed")
        return head["count"], head["last"]

    def note(self, index: int, header: Any, commitment: str) -> None:
        """Count one event, of a bundle that begins with the first."""
        if index == self.size:
            self.compare()
        elif index < self.size:
            for kind, name in (("stream", "st"), ("actor", "ac"), ("scope", "sc")):
                if header[name]:
                    whose = f"{kind}/{header[name]}"
                    self.found[whose] = (self.found.get(whose, (0, ""))[0] + 1, commitment)

    def compare(self) -> None:
        tree = Frontier(0, [])
        for name in sorted(self.found, key=str.encode):
            count, last = self.found[name]
            head = dumps({"name": name, "count": count, "last": last})
            tree.push(bytes.fromhex(sha256_hex(b"\0" + head)))
        same = (tree.size, tree.root()) == (self.count, self.root)
        need(same, f"the heads of streams that event {self.index} sealed are not those of the log")
        self.agreed = True
        self.found = {}
