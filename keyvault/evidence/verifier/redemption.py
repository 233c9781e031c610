"""How many, who, how soon, and whether that was so."""

from __future__ import annotations

from typing import Any

from keyvault.evidence.verifier.forms import fits
from keyvault.evidence.verifier.report import Report
from keyvault.evidence.verifier.rules import (
    able,
    group_of,
    meets,
    rule_in_force,
    scope_of,
)
from keyvault.evidence.verifier.standing import (
    ASKING,
    EVERYWHERE,
    PERSONAL,
    PROTECTIVE,
    State,
    held,
    lapses,
)
from keyvault.evidence.verifier.words import (
    LEEWAY,
    Wrong,
    dumps,
    need,
    seconds,
    unbase64,
    when,
)

MIN_APPROVALS = 2
OTHER_RULE = "the request quotes another rule than the one in force"


class Redemption:
    """A request with its approvals, judged as of one second under the authority in force."""

    def __init__(self, state: State, request: Any, at: float) -> None:
        self.state, self.request, self.at = state, request, at
        self.rule, self.command = request["rule"], request["command"]
        self.asked, self.until = seconds(request["requested_at"]), seconds(request["expires_at"])
        self.scope = scope_of(request) or EVERYWHERE
        self.subject = request["parameters"].get("person", "")
        self.alone = self.rule["approvals"] == 1 and self.command in PROTECTIVE | PERSONAL

    def check(self, approvals: list[Any], report: Report) -> None:
        """Enough people, independent enough, in good standing and in time, signed for this."""
        self.check_time()
        self.check_requester()
        for approval in approvals:
            self.check_approval(approval)
            person = self.state.people[approval["approver"]]
            check_signature(self.request, approval, person, report)
        self.check_enough([self.state.people[name] for name in {a["approver"] for a in approvals}])

    def check_time(self) -> None:
        stretched = self.until != self.asked + self.rule["expires_after"]
        need(not stretched, "the request does not expire when its rule says")
        need(self.at <= self.until, "it began after the request had expired")
        need(self.asked <= self.at + LEEWAY, "the request is from the future")
        due = self.asked + self.rule["wait"]
        rule = self.rule["id"]
        need(self.at >= due, f"it began too soon: rule {rule} asks to wait until {when(due)}")

    def check_requester(self) -> None:
        who = self.request["requester"]
        need(who in self.state.people, f"{who} is no person known to authority")
        if self.command in PERSONAL and self.subject == who:
            return
        person, reasons = self.state.people[who], []
        for role in ASKING.get(self.command, []):
            reasons.append(lapses(self.state, person, role, self.scope, self.asked))
            if self.command == "review-screening":  # to ask for it decides nothing
                reasons[-1].pop("screening", None)
            if not reasons[-1]:
                return
        best = next((r for r in reasons if "granted" not in r), None)
        roles = " or ".join(ASKING.get(self.command, ["of nobody else"]))
        why = "; ".join(best.values()) if best else f"the role {roles} is needed"
        need(False, f"{who} could not ask for {self.command} then: {why}")

    def reasons(self, person: Any, role: str, at: float) -> dict[str, str]:
        """The lapses that count.

        When too few are left to review anybody, those whose own review is due may review others:
        there would be no way back without.
        """
        found = lapses(self.state, person, role, self.scope, at)
        if self.command == "review-screening" and "screening" in found and self.too_few(at):
            del found["screening"]
        return found

    def too_few(self, at: float) -> bool:
        beside = (self.request["requester"], self.subject)
        left = [
            who
            for who, person in self.state.people.items()
            if who not in beside
            and able(person, self.rule)
            and any(not lapses(self.state, person, r, self.scope, at) for r in self.rule["roles"])
        ]
        return bool(len(left) < self.rule["approvals"])

    def check_approval(self, approval: Any) -> None:
        who, signed = approval["approver"], seconds(approval["at"])
        need(who in self.state.people, f"{who} is no person known to authority")
        asked = who == self.request["requester"] and not self.alone
        need(not asked, f"{who} asked for this and cannot approve it")
        need(who != self.subject or self.alone, f"{who} cannot decide on themselves")
        carries = who in self.request["parameters"].get("custodians", ())
        need(not carries, f"{who} is to carry a part of this key, and cannot approve it")
        in_time = self.asked - LEEWAY <= signed <= self.until
        need(in_time, f"the approval of {who} is outside the request's time")
        need(signed <= self.at + LEEWAY, f"{who} approved after it had happened")
        person = self.state.people[who]
        for at in (signed, self.at):
            self.check_standing(person, at)
        key = person["credentials"].get(approval["credential"])
        need(key, f"this is not an enrolled key of {who}")
        kind = self.rule["assurance"]
        fits = meets(key["assurance"], kind)
        need(fits, f"{who} signed with less than the {kind} that rule {self.rule['id']} asks for")

    def check_standing(self, person: Any, at: float) -> None:
        who = person["id"]
        if self.command in PERSONAL:
            need(self.subject == who, f"{who} cannot say this for {self.subject}")
            need(not held(person, at), f"{who} was on hold at {when(at)}")
            return
        reasons = [self.reasons(person, role, at) for role in self.rule["roles"]]
        if all(reasons):
            best = min(reasons, key=lambda reason: "granted" in reason)
            words = "; ".join(best.values())
            need(False, f"the approval of {who} does not count at {when(at)}: {words}")
        level = self.rule["vetting"]
        deep = meets(person["screening"]["vetting"], level)
        need(deep, f"{who} is not screened to the level {level}")

    def check_enough(self, people: list[Any]) -> None:
        wanted, groups = self.rule["approvals"], self.rule["groups"]
        wanted = wanted if self.alone else max(wanted, MIN_APPROVALS)
        need(len(people) >= wanted, f"{len(people)} of {wanted} approvals are there")
        found = len({group_of(self.rule, person) for person in people})
        kind = self.rule["group_by"]
        need(found >= groups, f"approvals come from {found} of {groups} {kind} groups")


def check_signature(request: Any, approval: Any, person: Any, report: Report) -> None:
    who, key = approval["approver"], person["credentials"].get(approval["credential"])
    need(approval["decision"] == "approve", f"{who} refused")
    need(key, f"this is not an enrolled key of {who}")
    need(not key["login_only"], f"{who} signed with a key that only logs in")
    own = {name: value for name, value in approval.items() if name != "signature"}
    message = dumps({**own, "ctx": "keyvault-approval-v1", "request": request})
    what = f"the signature of {who} on request {request.get('id', 'genesis')} is not valid"
    report.signed(what, key["spki"], unbase64(approval["signature"]), message)


def check_request(request: Any, origin: str, command: str) -> None:
    fits("request", request)
    need(request["origin"] == origin, "the request belongs to another log")
    need(request["command"] == command, f"people approved {request['command']}, not {command}")


def rules_for(state: State, request: Any, key_classes: list[str]) -> list[Any]:
    """The rules that may be in force, one for each class that the key may be of."""
    rules = []
    for name in key_classes:
        try:
            rules.append(rule_in_force(state, request, name))
        except Wrong:
            need(len(key_classes) > 1, f"no rule allows {request['command']} for class {name}")
    return rules
