"""Payloads that were erased: by several people, whose event is shown with its proof."""

from __future__ import annotations

from typing import Any

from keyvault.evidence.verifier.archive import ERASURES, Bundle
from keyvault.evidence.verifier.authority import Authority
from keyvault.evidence.verifier.lone import read_lone
from keyvault.evidence.verifier.redemption import OTHER_RULE, Redemption, check_request
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.rules import rule_in_force
from keyvault.evidence.verifier.words import need

ERASE, ERASED = "erase-payload", "PAYLOAD.ERASED"


class Erasures:
    """Which events may lack their payload, and why."""

    def __init__(self, bundle: Bundle, authority: Authority, report: Report) -> None:
        self.bundle, self.authority, self.report = bundle, authority, report
        self.events: dict[int, str] = {}  # index: the ground

    def check(self, size: int, root: bytes) -> None:
        if ERASURES not in self.bundle:
            return
        for line in self.bundle.lines(ERASURES):
            index, header, payload, _ = read_lone(line, size, root)
            self.report.at(ERASURES, index)
            done = header["ty"] == ERASED and header["out"] == "ok" and payload is not None
            need(done, "is no event of an erasure")
            self.take(header, payload)

    def take(self, header: Any, payload: Any) -> None:
        request, approvals = payload["request"], payload["approvals"]
        check_request(request, self.authority.origin, ERASE)
        asked = request["parameters"]
        need(payload["events"] == asked["events"], "people approved the erasure of other events")
        heads = [head[:16] for head in self.authority.heads]
        need(header["pv"] in heads, "names an authority that is not there")
        state = self.authority.states[heads.index(header["pv"])]
        need(request["rule"] == rule_in_force(state, request, ""), OTHER_RULE)
        Redemption(state, request, header["t"] / 1000).check(approvals, self.report)
        self.events.update(dict.fromkeys(asked["events"], asked["ground"]))
