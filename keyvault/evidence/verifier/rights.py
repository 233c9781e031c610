"""Who had a hand in each event, and what their rights were at that second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keyvault.evidence.verifier.acts import ACTS
from keyvault.evidence.verifier.authority import Authority
from keyvault.evidence.verifier.forms import ROLES
from keyvault.evidence.verifier.rules import scope_of
from keyvault.evidence.verifier.standing import (
    ASKING,
    EVERYWHERE,
    State,
    lapses,
)
from keyvault.evidence.verifier.words import seconds, when


class Standing:
    """Who had a hand in each event, and what their rights were at that second."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.entries: list[Any] = []

    def note(self, index: int, header: Any, payload: Any, number: int) -> None:
        """Note the person who acted and, of what was carried out, those who allowed it."""
        kind, _, name = header["ac"].partition(":")
        state, at = self.authority.states[max(number, 0)], header["t"] / 1000
        people = []
        if kind == "person":
            scope = header["sc"] or None
            people.append(standing_of(state, name, "actor", [header["ro"]], scope, at))
        if header["out"] == "ok" and header["ty"] == "AUTHORITY.CHANGED":
            people += self.signers(state, self.authority.records[number + 1])
        elif header["out"] == "ok" and header["ty"] in ACTS and payload is not None:
            people += self.signers(state, payload)
        if people:
            about = {"event": index, "type": header["ty"], "at": when(at)}
            self.entries.append({**about, "people": people})

    @staticmethod
    def signers(state: State, signed: Any) -> Iterator[dict[str, Any]]:
        """Who asked, as of when they did, and who approved, as of when they did."""
        request, scope = signed["request"], None
        roles: list[str] = []
        if "rule" in request:  # genesis has none
            roles, scope = request["rule"]["roles"], scope_of(request) or EVERYWHERE
            asked, asking = seconds(request["requested_at"]), ASKING.get(request["command"], [])
            yield standing_of(state, request["requester"], "requester", asking, scope, asked)
        for one in signed["approvals"]:
            at = seconds(one["at"])
            yield standing_of(state, one["approver"], "approver", roles, scope, at)

    def sentences(self) -> Iterator[str]:
        for entry in self.entries:
            for one in entry["people"]:
                yield f"[{entry['event']}] {entry['type']} {entry['at']}: {sentence_of(one)}"


def standing_of(
    state: State, who: str, part: str, roles: list[str], scope: str | None, at: float
) -> dict[str, Any]:
    """A person's standing for the first of these roles that counted, or that they hold."""
    own: dict[str, Any] = {"person": who, "part": part, "at": when(at), "role": "own"}
    person = state.people.get(who)
    if person is None:
        return {**own, "name": None}
    reasons = {role: lapses(state, person, role, scope, at) for role in roles if role in ROLES}
    for role in sorted(reasons, key=lambda role: (bool(reasons[role]), "granted" in reasons[role])):
        own.update(role=role, lapses=list(reasons[role].values()))
        break
    duties = {
        duty["name"]: [person["acknowledged"].get(duty["name"], 0), duty["version"]]
        for duty in state.duties
    }
    kept = {name: person[name] for name in ("name", "grants", "screening", "hold")}
    return {"lapses": [], **own, **kept, "duties": duties}


def sentence_of(one: Any) -> str:
    who = f"{one['part']} {one['person']} at {one['at']}"
    if one["name"] is None:
        return f"{who} is no person known to authority"
    grants = "; ".join(f"{g['role']} for {g['scope']} until {g['until']}" for g in one["grants"])
    duties = ", ".join(f"{name} {was} of {last}" for name, (was, last) in one["duties"].items())
    hold = f"on hold: {one['hold']['reason']}" if one["hold"] else "not on hold"
    counts = f"does not count ({'; '.join(one['lapses'])})" if one["lapses"] else "counts"
    due = one["screening"]["due"]
    return (
        f"{who} as {one['role']} {counts}; screening due {due}; {grants}; duties {duties}; {hold}"
    )
