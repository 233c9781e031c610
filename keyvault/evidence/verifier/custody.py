"""Who held the bundle after it was made: who gave it away signs that, and who took it may."""

from __future__ import annotations

import hashlib
from typing import Any

from keyvault.evidence.verifier.authority import Authority
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.words import (
    dumps,
    lines_of,
    loads,
    need,
    seconds,
    sha256_hex,
    unbase64,
)

HANDOVER, RECEIPT = "keyvault-handover-v1", "keyvault-receipt-v1"
COMMON = {"at", "bundle", "ctx", "place", "prev", "seq", "signature"}
FIELDS_OF = {HANDOVER: COMMON | {"credential", "from", "to"}, RECEIPT: COMMON | {"by", "key"}}


class Custody:
    """The lines of the file beside the bundle, from the export on."""

    def __init__(self, authority: Authority | None, report: Report) -> None:
        people = authority.states[-1].people if authority else {}
        self.people, self.report = people, report
        self.outsiders: dict[str, bytes] = {}  # who signed a receipt, and with which key
        self.holder = ""  # to whom it was handed last
        self.sentences: list[str] = []

    def check(self, data: bytes, file: str, bundle: str, created: str) -> None:
        before, last = "0" * 64, seconds(created)
        for number, line in enumerate(lines_of(data)):
            self.report.at(file, number)
            entry = loads(line)
            fields = FIELDS_OF.get(entry["ctx"], set())
            need(set(entry) == fields, "is no hand-over and no receipt")
            need(entry["bundle"] == bundle, "is about another bundle")
            follows = entry["seq"] == number and entry["prev"] == before
            need(follows, "does not follow the hand-over before it")
            need(seconds(entry["at"]) >= last, "is older than what came before it")
            receipt = entry["ctx"] == RECEIPT
            self.check_receipt(entry) if receipt else self.check_handover(entry)
            before, last = hashlib.sha256(line).hexdigest(), seconds(entry["at"])

    def check_handover(self, entry: Any) -> None:
        """By a person of the authority, or by somebody outside who had signed a receipt."""
        who, outside = entry["from"], entry["from"] not in self.people
        if outside and who in self.outsiders:
            need(self.holder == who, f"{who} did not have it to give away")
            key = self.outsiders[who]
            need(entry["credential"] == sha256_hex(key), f"{who} signed with another key")
        else:
            known = {} if outside else self.people[who]["credentials"]
            found = known.get(entry["credential"], {"login_only": True})
            need(not found["login_only"], f"{who} did not sign with an enrolled key")
            key = found["spki"]
        self.signed(entry, who, key, "hand-over")
        self.holder = entry["to"]
        where = f"at {entry['place']}, {entry['at']}"
        self.sentences.append(f"{who} handed the bundle to {entry['to']} {where}")

    def check_receipt(self, entry: Any) -> None:
        """By the one it was handed to: nobody enrolled their key, so it is told."""
        who, key = entry["by"], unbase64(entry["key"])
        need(who not in self.people, f"{who} is enrolled, and signs with that key")
        need(self.holder == who, f"{who} received what nobody handed to them")
        known = self.outsiders.setdefault(who, key)
        need(known == key, f"{who} signed with another key than before")
        self.signed(entry, who, key, "receipt")
        where = f"at {entry['place']}, {entry['at']}"
        said = f"{who} received it {where}, by a key of their own: compare {sha256_hex(key)}"
        self.sentences.append(said)

    def signed(self, entry: Any, who: str, key: bytes, name: str) -> None:
        signed = {field: value for field, value in entry.items() if field != "signature"}
        what = f"the signature of {who} on the {name} is not valid"
        self.report.signed(what, key, unbase64(entry["signature"]), dumps(signed))
