"""Who held the bundle after it was made: each hand-over is signed by the one who gave it away."""

from __future__ import annotations

import hashlib
from typing import Any

from keyvault.evidence.verifier.authority import Authority
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.words import dumps, lines_of, loads, need, seconds, unbase64

FIELDS_OF_HANDOVER = {"at", "bundle", "credential", "ctx", "from", "place", "prev", "seq"} | {
    *("signature", "to")
}


class Custody:
    """The lines of the file beside the bundle, from the export on."""

    def __init__(self, authority: Authority, report: Report) -> None:
        self.authority, self.report = authority, report
        self.sentences: list[str] = []

    def check(self, data: bytes, file: str, bundle: str, created: str) -> None:
        before, last = "0" * 64, seconds(created)
        for number, line in enumerate(lines_of(data)):
            self.report.at(file, number)
            entry = loads(line)
            need(set(entry) == FIELDS_OF_HANDOVER, "is no hand-over")
            need(entry["ctx"] == "keyvault-handover-v1", "is no hand-over")
            need(entry["bundle"] == bundle, "is about another bundle")
            follows = entry["seq"] == number and entry["prev"] == before
            need(follows, "does not follow the hand-over before it")
            need(seconds(entry["at"]) >= last, "is older than what came before it")
            self.check_signed(entry)
            before, last = hashlib.sha256(line).hexdigest(), seconds(entry["at"])

    def check_signed(self, entry: Any) -> None:
        who, people = entry["from"], self.authority.states[-1].people
        key = people[who]["credentials"].get(entry["credential"]) if who in people else None
        need(key and not key["login_only"], f"{who} did not sign with an enrolled key")
        signed = {name: value for name, value in entry.items() if name != "signature"}
        what = f"the signature of {who} on the hand-over is not valid"
        signature = unbase64(entry["signature"])
        self.report.signed(what, (key or {})["spki"], signature, dumps(signed))
        where = f"at {entry['place']}, {entry['at']}"
        self.sentences.append(f"{who} handed the bundle to {entry['to']} {where}")
