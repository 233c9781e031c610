"""Who asked for what, and when: a request is held against the event that told of it then."""

from __future__ import annotations

import hashlib
from typing import Any

from keyvault.evidence.verifier.words import LEEWAY, dumps, need, seconds, when


class Asked:
    """Every request that the log tells of so far. Nobody signs for asking, so the log binds it."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[float, str, bytes]] = {}
        self.untold = 0

    def event(self, header: Any, payload: Any) -> None:
        if header["ty"] != "APPROVAL.REQUESTED" or header["out"] != "ok":
            return
        need(header["op"] not in self.told, "the same request was asked for before")
        digest = b"" if payload is None else _digest(payload["request"])
        self.told[header["op"]] = header["t"] / 1000, header["ac"], digest

    def check(self, request: Any) -> None:
        """Nobody else asked, at no other time, for nothing else. Headers tell, if payloads end."""
        if request["id"] not in self.told:
            self.untold += 1
            return
        happened, actor, digest = self.told[request["id"]]
        asked, requester = seconds(request["requested_at"]), request["requester"]
        need(actor.partition(":")[2] == requester, f"the log tells that {actor} asked for this")
        told = f"says it was asked for at {when(asked)}, and the log tells of {when(happened)}"
        need(abs(asked - happened) <= LEEWAY + 1, told)
        need(digest in (b"", _digest(request)), "the log tells of another request under its id")


def _digest(request: Any) -> bytes:
    return hashlib.sha256(dumps(request)).digest()
