"""Payloads that are missing: erased or purged by several people, whose events have proofs."""

from __future__ import annotations

from typing import Any

from keyvault.evidence.verifier.archive import ERASURES, Bundle
from keyvault.evidence.verifier.authority import Authority
from keyvault.evidence.verifier.catalogue import RETENTION
from keyvault.evidence.verifier.lone import read_lone
from keyvault.evidence.verifier.redemption import OTHER_RULE, Redemption, check_request
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.rules import rule_in_force
from keyvault.evidence.verifier.words import DAY, need, seconds, unbase64

ERASED, PURGED = "PAYLOAD.ERASED", "PAYLOAD.PURGED"
HELD, LIFTED = "AUDIT.HOLD_SET", "AUDIT.HOLD_LIFTED"
DECIDED = {ERASED: "erase-payload", PURGED: "purge-payloads", LIFTED: "lift-log-hold"}


class Purge:
    """One certificate: which events may lack their payload, by their class and age."""

    def __init__(self, index: int, payload: Any) -> None:
        request, self.index = payload["request"], index
        asked, approvals = request["parameters"], payload["approvals"]
        self.name, self.retention = request["id"], asked["retention"]
        self.before, self.asked = asked["before"], request["requested_at"]
        self.people = ", ".join(sorted({one["approver"] for one in approvals}))
        self.start, self.end, self.count = (payload[name] for name in ("start", "end", "count"))
        self.bits = unbase64(payload["events"])
        same = (payload["retention"], payload["before"]) == (self.retention, self.before)
        need(same, "people approved another purge")
        whole = len(self.bits) == (self.end - self.start + 7) // 8 and self.end <= index
        counted = sum(bin(byte).count("1") for byte in self.bits)  # noqa: FURB161 - for Python 3.8
        need(whole and counted == self.count, "does not count what was purged")
        self.found = 0

    def names(self, index: int) -> bool:
        at = index - self.start
        return 0 <= at < self.end - self.start and bool(self.bits[at // 8] & 128 >> at % 8)

    def sentence(self) -> str:
        kept = max(0, seconds(self.asked) - seconds(self.before)) // DAY
        return (
            f"{self.found} events here were purged under certificate {self.name} (event "
            f"{self.index}): class {self.retention}, before {self.before}, kept for {kept} days "
            f"or more, approved by {self.people}"
        )


class Hold:
    """What must not be purged from one event of the log to another."""

    def __init__(self, index: int, about: str) -> None:
        self.since, self.until, self.about = index, 1 << 62, about

    def forbids(self, purge: Purge, header: Any) -> bool:
        about = self.about in ("*", header["st"], header["ac"])
        return about and self.since < purge.index < self.until


class Erasures:
    """Which events may lack their payload, and why."""

    def __init__(self, bundle: Bundle, authority: Authority, report: Report) -> None:
        self.bundle, self.authority, self.report = bundle, authority, report
        self.events: dict[int, str] = {}  # index: the ground
        self.purges: list[Purge] = []
        self.holds: dict[str, Hold] = {}
        self.told: set[int] = set()  # events that were shown here

    def check(self, size: int, root: bytes) -> None:
        if ERASURES not in self.bundle:
            return
        last = -1
        for line in self.bundle.lines(ERASURES):
            index, header, payload, _ = read_lone(line, size, root)
            self.report.at(ERASURES, index)
            known = header["ty"] in (*DECIDED, HELD) and index > last
            done = known and header["out"] == "ok" and payload is not None
            need(done, "is no event of an erasure, a purge or a hold, or out of order")
            if header["ty"] in DECIDED:
                self.check_decided(header, payload)
            self.take(index, header["ty"], payload)
            self.told.add(index)
            last = index

    def check_decided(self, header: Any, payload: Any) -> None:
        request = payload["request"]
        check_request(request, self.authority.origin, DECIDED[header["ty"]])
        heads = [head[:16] for head in self.authority.heads]
        need(header["pv"] in heads, "names an authority that is not there")
        state = self.authority.states[heads.index(header["pv"])]
        need(request["rule"] == rule_in_force(state, request, ""), OTHER_RULE)
        Redemption(state, request, header["t"] / 1000).check(payload["approvals"], self.report)

    def take(self, index: int, kind: str, payload: Any) -> None:
        asked = payload["request"]["parameters"] if kind in DECIDED else payload
        if kind == ERASED:
            need(payload["events"] == asked["events"], "people approved the erasure of others")
            self.events.update(dict.fromkeys(asked["events"], asked["ground"]))
        elif kind == PURGED:
            self.purges.append(Purge(index, payload))
        elif kind == HELD:
            self.holds[asked["hold"]] = Hold(index, asked["about"])
        else:
            need(asked["hold"] in self.holds, "lifts a hold that nobody set")
            self.holds[asked["hold"]].until = index

    def allow(self, index: int, header: Any) -> None:
        """Raise `Wrong` unless several people decided that this event lacks its payload."""
        if index in self.events:
            return
        purge = next((one for one in self.purges if one.names(index)), None)
        need(purge, "is erased, and nobody approved that")
        if purge is not None:
            of_class = RETENTION.get(header["ty"]) == purge.retention
            need(of_class, f"was purged as of class {purge.retention}, which it is not")
            young = header["t"] >= seconds(purge.before) * 1000
            need(not young, "was purged before its time")
            held = any(one.forbids(purge, header) for one in self.holds.values())
            need(not held, "was purged while it was on hold")
            purge.found += 1

    def row(self, index: int, header: Any) -> None:
        """Rows that say why something is missing stand in both places."""
        named = self.told and header["ty"] in (*DECIDED, HELD) and header["out"] == "ok"
        need(not named or index in self.told, f"is missing in {ERASURES}")
