"""What must hold after every record: nobody decides alone, and a way on is left."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from keyvault.evidence.verifier.acts import CHANGES
from keyvault.evidence.verifier.forms import COMMANDS
from keyvault.evidence.verifier.redemption import MIN_APPROVALS
from keyvault.evidence.verifier.rules import (
    LONGEST,
    LONGEST_BREAK_GLASS,
    MIN_ELIGIBLE,
    able,
    group_of,
    joined,
    rule_for,
    stricter,
)
from keyvault.evidence.verifier.standing import (
    ASKING,
    EVERYWHERE,
    PERSONAL,
    PROTECTIVE,
    State,
    apart,
    reaches,
)
from keyvault.evidence.verifier.words import (
    Wrong,
    need,
    seconds,
)


def check_sound(state: State, command: str, before: State | None) -> None:
    """A rule that was sound before has to be so still; one that losses broke may be mended."""
    if command in PROTECTIVE:
        return  # ends by itself, or concerns nobody who decides
    if command not in ("remove-person", "revoke-credential", "suspend-person"):
        for person in state.people.values():
            for one, other in apart(person["grants"]):
                both = f"{one['role']} and {other['role']}"
                need(False, f"{person['name']} cannot be {both} for the same scope")
        for rule in state.rules:
            if before is None or rule not in before.rules or is_sound(before, rule):
                check_rule(state, rule)
        check_overlaps(state.rules)
        for name in sorted({*CHANGES} - PERSONAL):
            rule_for(state, name, "")
    check_mendable(state)


def is_sound(state: State, rule: Any) -> bool:
    try:
        check_rule(state, rule)
    except Wrong:
        return False
    return True


def check_rule(state: State, rule: Any) -> None:
    """Not too weak, and people enough to meet it, and to change it."""
    name, wanted, life = rule["id"], rule["approvals"], rule["expires_after"]
    commands, glass = set(rule["commands"]), rule["break_glass"]
    need(commands <= {"*", *COMMANDS} - PERSONAL, f"rule {name} is for unknown commands")
    need(rule["wait"] < life <= LONGEST, f"rule {name} expires too late or too soon")
    fits = 1 <= rule["groups"] <= wanted and (rule["groups"] > 1) == bool(rule["group_by"])
    need(fits, f"rule {name} asks for groups that do not add up")
    least = 1 if commands <= PROTECTIVE and not glass else MIN_APPROVALS
    need(wanted >= least, f"rule {name} asks for fewer than {least}")
    quick = life <= LONGEST_BREAK_GLASS and not rule["wait"]
    need(quick or not glass, f"rule {name} breaks the glass, and waits or lasts too long")
    changing = [joined(rule_for(state, act, ""), rule) for act in ("set-rule", "remove-rule")]
    for one in (rule, *changing):
        check_electors(state, one)


def check_electors(state: State, rule: Any) -> None:
    people, wanted = electors(state, rule), rule["approvals"]
    least = max(MIN_ELIGIBLE if wanted >= MIN_APPROVALS else 1, wanted + 1)
    need(len(people) >= least, f"rule {rule['id']} has too few holders: {len(people)} of {least}")
    spare = all(satisfy(rule, [p for p in people if p is not one]) for one in people)
    need(spare, f"rule {rule['id']} has too few groups without one person")


def electors(state: State, rule: Any) -> list[Any]:
    """Whose signature could count under a rule for every scope."""
    people = state.people.values()
    return [p for p in people if holds(p, rule["roles"], state.at) and able(p, rule)]


def holds(person: Any, roles: list[str], at: int) -> bool:
    """Whether they hold one of the roles for every scope, unless they are suspended."""
    return not (person["hold"] and person["hold"]["until"] is None) and any(
        grant["role"] in roles and reaches(grant, EVERYWHERE) and at < seconds(grant["until"])
        for grant in person["grants"]
    )


def satisfy(rule: Any, people: list[Any]) -> bool:
    groups = {group_of(rule, person) for person in people}
    return bool(len(people) >= rule["approvals"] and len(groups) >= rule["groups"])


def check_overlaps(rules: list[Any]) -> None:
    """Of two rules for the same act one has to be the stricter in everything."""
    for one, other in combinations(rules, 2):
        pair = f"rules {one['id']} and {other['id']}"
        if not all(
            "*" in one[name] + other[name] or set(one[name]) & set(other[name])
            for name in ("commands", "key_classes")
        ):
            continue
        if one["break_glass"] is other["break_glass"]:
            ordered = stricter(one, other) or stricter(other, one)
            need(ordered, f"{pair} cover the same act, and neither is stricter in everything")
        else:
            glass, normal = (one, other) if one["break_glass"] else (other, one)
            bigger = glass["approvals"] > normal["approvals"]
            need(bigger, f"{pair}: breaking the glass takes more people, never fewer")


def check_mendable(state: State) -> None:
    """Somebody must be left who can ask for a successor, and enough others who can agree."""
    for command in ("register-person", "enrol-credential"):
        rule, people = rule_for(state, command, ""), state.people.values()
        signers = electors(state, rule)
        askers = [p for p in people if p["credentials"] and holds(p, ASKING[command], state.at)]
        mendable = any(satisfy(rule, [p for p in signers if p is not one]) for one in askers)
        need(mendable, "nobody could be registered any more: too few holders are left")
