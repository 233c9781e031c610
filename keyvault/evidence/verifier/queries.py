"""Named questions whose answer is no: each is worked out here again, from the events alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keyvault.evidence.verifier.acts import ACTS
from keyvault.evidence.verifier.words import seconds

CLAIMS = {
    "no-export": "no key was exported",
    "no-erasure": "no payload was erased or purged",
    "no-single-person-act": "no act on a key was approved by fewer than two people",
    "no-lapsed-approver": "nobody approved whose rights had lapsed",
}


class Queries:
    """What contradicts each claim, and what keeps it open because it is withheld."""

    def __init__(self, dates: Any) -> None:
        self.period = (0, 1 << 53)
        if dates is not None:
            self.period = (seconds(dates["from"]) * 1000, seconds(dates["to"]) * 1000)
        self.against: dict[str, list[int]] = {name: [] for name in CLAIMS}
        self.hidden: dict[str, int] = dict.fromkeys(CLAIMS, 0)

    def event(self, index: int, header: Any, payload: Any) -> None:
        if header["out"] not in ("ok", "unknown"):
            return
        if not self.period[0] <= header["t"] < self.period[1]:
            return
        kind = header["ty"]
        if kind == "KEY.EXPORTED":
            self.found("no-export", index)
        if kind in ("PAYLOAD.ERASED", "PAYLOAD.PURGED"):
            self.found("no-erasure", index)
        if kind in ACTS and header["out"] == "ok" and payload is None:
            self.hidden["no-single-person-act"] += 1
            self.hidden["no-lapsed-approver"] += 1
        elif kind in ACTS and header["out"] == "ok":
            asked = payload["request"]["requester"]
            people = {one["approver"] for one in payload["approvals"]} - {asked}
            if len(people) < 2:  # noqa: PLR2004 - two people
                self.found("no-single-person-act", index)

    def found(self, name: str, index: int) -> None:
        if len(self.against[name]) < 100:  # noqa: PLR2004 - enough to show
            self.against[name].append(index)

    def answers(self, whole: bool) -> Iterator[tuple[str, str]]:
        """What can be said of each; `whole` is whether everything else was in order."""
        for name, claim in CLAIMS.items():
            against, hidden = self.against[name], self.hidden[name]
            if against:
                yield name, f"refuted: events {', '.join(map(str, against))}"
            elif hidden or not whole:
                why = f"{hidden} acts are withheld" if hidden else "the evidence is wrong"
                yield name, f"open: {why}"
            else:
                yield name, f"proved: {claim} in this period"
