"""Which rule is in force, and what it asks of people."""

from __future__ import annotations

import json
from typing import Any

from keyvault.evidence.verifier.forms import ROLES, WORDS
from keyvault.evidence.verifier.standing import PERSONAL, State
from keyvault.evidence.verifier.words import (
    DAY,
    HOUR,
    need,
)

LONGEST, LONGEST_BREAK_GLASS = 31 * DAY, 4 * HOUR
MIN_ELIGIBLE = 3
LEVELS = [*WORDS["assurance"], *WORDS["vetting"]]
OWN_RULE = json.loads(
    """{"id": "own", "commands": ["acknowledge-duty"], "key_classes": ["*"], "approvals": 1,
    "expires_after": 2678400, "wait": 0, "group_by": null, "groups": 1, "assurance": "software",
    "vetting": "baseline", "break_glass": false}"""
)
OWN_RULE["roles"] = ROLES


def covers(rule: Any, command: str, key_class: str) -> bool:
    commands, classes = rule["commands"], rule["key_classes"]
    return bool({command, "*"} & set(commands) and {key_class, "*"} & set(classes))


def rule_for(state: State, command: str, key_class: str, broken: bool = False) -> Any:
    """The strictest rule that covers the command; `broken` says that the glass was broken."""
    if command in PERSONAL:
        return OWN_RULE
    covering = [
        rule
        for rule in state.rules
        if rule["break_glass"] is broken and covers(rule, command, key_class)
    ]
    how = " by breaking the glass" if broken else ""
    need(covering, f"no rule allows {command} for class {key_class or 'none'}{how}")
    strictest = [rule for rule in covering if all(stricter(rule, other) for other in covering)]
    need(strictest, f"of the rules for {command} none is the strictest")
    return strictest[0]


def rule_in_force(state: State, request: Any, key_class: str) -> Any:
    """The rule for a request. Changing a rule takes that rule, too."""
    command, new = request["command"], request["parameters"]
    rule = rule_for(state, command, key_class, request["rule"]["break_glass"])
    name = new["rule"] if command == "remove-rule" else new.get("rule", {}).get("id")
    old = [one for one in state.rules if one["id"] == name]
    return joined(rule, old[0]) if old else rule


def stricter(one: Any, other: Any) -> bool:
    """Whether nothing that this rule allows would be refused by the other."""
    return bool(
        set(one["roles"]) <= set(other["roles"])
        and all(one[name] >= other[name] for name in ("approvals", "wait", "groups"))
        and one["expires_after"] <= other["expires_after"]
        and (other["groups"] <= 1 or one["group_by"] == other["group_by"])
        and all(meets(one[name], other[name]) for name in ("assurance", "vetting"))
    )


def joined(rule: Any, old: Any) -> Any:
    """The rule for changing an old one: of whoever decides, all that the old one asks, too."""
    more = rule if rule["groups"] >= old["groups"] else old
    roles = [role for role in rule["roles"] if role in old["roles"]]
    grouped = min(rule["groups"], old["groups"]) > 1 and rule["group_by"] != old["group_by"]
    both = f"rules {rule['id']} and {old['id']}"
    need(roles and not grouped, f"{both} ask people of other roles or groups")
    new = {**rule, "roles": roles, "group_by": more["group_by"], "groups": more["groups"]}
    for name in ("approvals", "wait"):
        new[name] = max(rule[name], old[name])
    for name in ("assurance", "vetting"):
        new[name] = max(rule[name], old[name], key=LEVELS.index)
    if new["wait"] >= rule["expires_after"]:
        new["expires_after"] = old["expires_after"]
    return new


def group_of(rule: Any, person: Any) -> str:
    kind = rule["group_by"]
    return str(person[kind] or person["id"]) if kind else ""


def meets(level: str, needed: str) -> bool:
    return LEVELS.index(level) >= LEVELS.index(needed)


def able(person: Any, rule: Any) -> bool:
    """Whether the person has a key that decides, and was screened, as the rule asks."""
    keys, level = person["credentials"].values(), person["screening"]["vetting"]
    deciding = [key["assurance"] for key in keys if not key["login_only"]]
    strong = any(meets(own, rule["assurance"]) for own in deciding)
    return strong and meets(level, rule["vetting"])


def scope_of(request: Any) -> str | None:
    """The scope of a request as text, or None where it concerns every one."""
    scope = request["scope"]
    return scope and "/".join(scope[part] for part in ("party", "user_role", "user_id"))
