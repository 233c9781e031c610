"""Who has to cosign a checkpoint (c2sp.org/tlog-cosignature, /tlog-policy)."""

from __future__ import annotations

import re

from keyvault.evidence.verifier.notes import log_key
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.words import (
    lines_of,
    need,
    unbase64,
)

COSIGNATURE = 4  # of c2sp.org/tlog-cosignature, by Ed25519 as well


class Policy:
    """Which witnesses have to cosign a checkpoint."""

    def __init__(self, data: bytes) -> None:
        good = data.endswith(b"\n") and not re.search(rb"[^\t\n -~\x80-\xff]", data)
        need(good, "is not lines of text, as a policy is")
        self.logs: list[str] = []
        self.witnesses: dict[str, tuple[str, bytes, bytes]] = {}
        self.groups: dict[str, tuple[int, list[str]]] = {}
        self.quorum = ""
        self.members: set[str] = set()
        for line in data.decode("utf-8", "surrogateescape").split("\n"):
            words = [word for word in re.split("[ \t]+", line) if word]
            if words and not words[0].startswith("#"):
                self.take(words[0], words[1:])
        need(self.quorum, "has no quorum line")
        keys = {key for _, _, key in self.witnesses.values()}
        need(len(keys) == len(self.witnesses), "names one witness twice")

    def take(self, kind: str, words: list[str]) -> None:
        if kind == "log":
            self.logs.append(words[0])
        elif kind == "witness":
            self.check_new(words[0])
            self.witnesses[words[0]] = log_key(words[1], (COSIGNATURE,))
        elif kind == "group":
            self.take_group(*words)
        else:
            need(kind == "quorum" and len(words) == 1 and not self.quorum, f"has a line {kind!r}")
            need(words[0] in {"none", *self.witnesses, *self.groups}, f"{words[0]} is nobody")
            self.quorum = words[0]

    def take_group(self, name: str, count: str, *members: str) -> None:
        self.check_new(name)
        for member in members:
            known = member in self.witnesses or member in self.groups
            need(known and member not in self.members, f"group {name} cannot have {member}")
            self.members.add(member)
        threshold = {"any": 1, "all": len(members)}.get(count) or int(count)
        need(1 <= threshold <= len(members), f"group {name} asks for {count} of {len(members)}")
        self.groups[name] = (threshold, list(members))

    def check_new(self, name: str) -> None:
        need(name not in {"none", *self.witnesses, *self.groups}, f"{name} is named twice")

    def holds(self, name: str, cosigners: dict[str, int]) -> bool:
        threshold, members = self.groups.get(name, (0, []))
        enough = sum(self.holds(member, cosigners) for member in members) >= threshold
        return name == "none" or name in cosigners or (name in self.groups and enough)

    def cosigners(self, note: bytes, report: Report) -> dict[str, int]:
        """Put the cosignatures of these witnesses aside; return who and when (POSIX seconds)."""
        text, _, block = note.decode().rpartition("\n\n")
        known = {(name, key_id): (w, key) for w, (name, key_id, key) in self.witnesses.items()}
        found = {}
        for line in lines_of(block.encode()):
            _, name, data = line.decode().split(" ")
            blob = unbase64(data)
            if (name, blob[:4]) in known:
                witness, key = known[name, blob[:4]]
                when = found[witness] = int.from_bytes(blob[4:12], "big")
                message = f"cosignature/v1\ntime {when}\n{text}\n".encode()
                what = f"the cosignature of witness {witness} is not valid"
                report.signed(what, key, blob[12:], message)
        return found
