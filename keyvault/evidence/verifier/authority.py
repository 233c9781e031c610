"""The chain of signed records, from the genesis ceremony on."""

from __future__ import annotations

from typing import Any

from keyvault.evidence.verifier.archive import AUTHORITY
from keyvault.evidence.verifier.changes import (
    Change,
    check_reviewed,
    newcomer,
)
from keyvault.evidence.verifier.forms import fits
from keyvault.evidence.verifier.redemption import (
    OTHER_RULE,
    Redemption,
    check_request,
    check_signature,
)
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.rules import MIN_ELIGIBLE, rule_in_force
from keyvault.evidence.verifier.soundness import check_sound
from keyvault.evidence.verifier.standing import State
from keyvault.evidence.verifier.words import (
    LEEWAY,
    dumps,
    need,
    seconds,
    sha256_hex,
)


class Authority:
    """The chain of signed records, folded. `states[n]` is what holds after record n."""

    def __init__(self, records: list[Any], report: Report) -> None:
        self.records, self.report = records, report
        self.heads = [sha256_hex(dumps(record)) for record in records]
        genesis = records[0]["request"]
        self.states: list[State] = []
        self.used: set[str] = set()
        for number, record in enumerate(records):
            report.at(AUTHORITY, number)
            self.check_link(number, record)
            self.states.append(self.extended(record) if number else self.founded(record))
        self.origin, self.services = genesis["origin"], genesis["services"]

    def check_link(self, number: int, record: Any) -> None:
        fits("record", record)
        need(record["seq"] == number, "is not the next record")
        previous = self.heads[number - 1] if number else "0" * 64
        need(record["prev"] == previous, "does not follow the record before it")

    def founded(self, record: Any) -> State:
        genesis, approvals = record["request"], record["approvals"]
        fits("genesis", genesis)
        people = {new["person"]: newcomer(new) for new in genesis["officers"]}
        keys = [key for person in people.values() for key in person["credentials"]]
        whole = len(people) == len(genesis["officers"]) and len(set(keys)) == len(keys)
        need(whole, "two officers are one")
        for name, what in (("rules", "id"), ("key_classes", "name"), ("duties", "name")):
            names = {one[what] for one in genesis[name]}
            need(len(names) == len(genesis[name]), f"two {name} have the same name")
        duties = {duty["name"]: duty["version"] for duty in genesis["duties"]}
        people = {who: {**person, "acknowledged": duties} for who, person in people.items()}
        classes = {one["name"]: one for one in genesis["key_classes"]}
        at = seconds(record["at"])
        state = State(people, {}, genesis["rules"], classes, genesis["duties"], at)
        for person in people.values():
            check_reviewed(person, at)
        need(len(people) >= MIN_ELIGIBLE, "genesis has too few holders: 3 officers are needed")
        check_sound(state, "genesis", None)
        signed = sorted(approval["approver"] for approval in approvals)
        need(signed == sorted(people), "is not signed by every officer once")
        for approval in approvals:
            check_signature(genesis, approval, people[approval["approver"]], self.report)
        return state

    def extended(self, record: Any) -> State:
        request, at, state = record["request"], seconds(record["at"]), self.states[-1]
        fits("request", request)
        check_request(request, self.records[0]["request"]["origin"], request["command"])
        before = self.records[record["seq"] - 1]["at"]
        need(at >= seconds(before) - LEEWAY, "is older than the record before it")
        self.use(request)
        need(request["rule"] == rule_in_force(state, request, ""), OTHER_RULE)
        Redemption(state, request, at).check(record["approvals"], self.report)
        after = Change(state, request, at).made()
        check_sound(after, request["command"], state)
        return after

    def use(self, request: Any) -> None:
        need(request["id"] not in self.used, "uses a request a second time")
        self.used.add(request["id"])
