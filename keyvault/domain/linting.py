"""Refuses rules and grants under which too few people could decide, or nobody.

It fails closed: what it does not understand to be safe is refused. It looks at who holds which
roles at the second of the change: whose rights lapse after it, `quorums` watches.
"""

from collections.abc import Iterable
from datetime import datetime

from keyvault.domain.access import asking, roles_for
from keyvault.domain.authority import Authority
from keyvault.domain.commands import (
    AUTHORITY_COMMANDS,
    COMMANDS,
    PERSONAL_COMMANDS,
    PROTECTIVE_COMMANDS,
    Command,
    EnrolCredential,
    HoldPerson,
    RegisterPerson,
    RemovePerson,
    RemoveRule,
    RevokeCredential,
    RevokeSystem,
    SetRule,
    SuspendPerson,
)
from keyvault.domain.errors import RuleError
from keyvault.domain.people import Person, Role
from keyvault.domain.quorum import MIN_APPROVALS, MIN_ELIGIBLE, able
from keyvault.domain.rules import ANYTHING, MAX_BREAK_GLASS, MAX_EXPIRY, Rule
from keyvault.domain.standing import Reach, conflicts, reaches
from keyvault.domain.times import time_of

_PROTECTIVE = frozenset(command.name for command in PROTECTIVE_COMMANDS)
_NEEDED = frozenset(c.name for c in AUTHORITY_COMMANDS) - {c.name for c in PERSONAL_COMMANDS}
# They take power away: what is left has to be able to mend itself, and no more.
_LOSING = (RemovePerson, RevokeCredential, SuspendPerson, HoldPerson, RevokeSystem)


def lint(
    authority: Authority, command: Command | None = None, before: Authority | None = None
) -> None:
    """Raise `RuleError` unless authority is sound after `command` (None: at genesis).

    A rule that was sound `before` has to be so still. One that losses broke does not stand in
    the way of those who mend it.
    """
    if isinstance(command, HoldPerson | RevokeSystem):
        return  # ends by itself, or concerns nobody who decides
    if isinstance(command, _LOSING):
        _check_mendable(authority)
        return
    for person in authority.people.values():
        lint_grants(person)
    _check_overlaps(authority.rules)
    for rule in authority.rules:
        if before is None or rule not in before.rules or _is_met(before, rule):
            lint_rule(authority, rule)
    _check_complete(authority)


def lint_grants(person: Person) -> None:
    """Raise `RuleError` if separation of duties keeps two of the person's grants apart."""
    for one, other in conflicts(person.grants):
        raise RuleError(
            f"{person.name} cannot be {one.role} and {other.role} for the same scope",
            next_step="give one of the two to somebody else",
        )


def lint_rule(authority: Authority, rule: Rule) -> None:
    """Refuse a rule that is too weak or cannot be met. Raises `RuleError`."""
    _check_power(rule)
    _check_shape(rule)
    _check_people(authority, rule)
    for change in (SetRule, RemoveRule):
        _check_people(authority, authority.rule_for(change.name).joined(rule))


def _is_met(authority: Authority, rule: Rule) -> bool:
    try:
        lint_rule(authority, rule)
    except RuleError:
        return False
    return True


def _check_people(authority: Authority, rule: Rule) -> None:
    eligible = electors(authority, rule)
    least = MIN_ELIGIBLE if rule.approvals >= MIN_APPROVALS else 1
    if len(eligible) < max(least, rule.approvals + 1):
        roles = " or ".join(rule.roles)
        raise RuleError(
            f"rule {rule.id} asks for {rule.approvals} of {len(eligible)} holders of {roles}",
            next_step="at least three, and one more than must sign, have to hold the role",
        )
    if not all(meets(rule, [p for p in eligible if p is not one]) for one in eligible):
        raise RuleError(
            f"rule {rule.id} asks for {rule.groups} {rule.group_by} groups, and without one person "
            "there are too few",
            next_step="more people, from more groups, have to hold the role",
        )


def electors(authority: Authority, rule: Rule) -> list[Person]:
    """Persons whose signature could count under `rule` for every scope.

    Whose screening or duty is due counts: that mends without a quorum. Whose role ended does not.
    """
    people = authority.people.values()
    return [person for person in people if _could_sign(person, rule, authority.at)]


def meets(rule: Rule, people: Iterable[Person]) -> bool:
    """Whether these persons together satisfy the rule's numbers."""
    listed = list(people)
    return (
        len(listed) >= rule.approvals
        and len({rule.group_of(person) for person in listed}) >= rule.groups
    )


def _could_sign(person: Person, rule: Rule, at: datetime) -> bool:
    return _holds(person, rule.roles, at) and able(person, rule)


def _holds(person: Person, roles: Iterable[Role], at: datetime) -> bool:
    """Whether they hold one of `roles` for every scope, unless they are suspended."""
    wanted = set(roles)
    return (person.hold is None or person.hold.until is not None) and any(
        grant.role in wanted and reaches(grant, Reach.ALL) and at < time_of(grant.until)
        for grant in person.grants
    )


def _check_shape(rule: Rule) -> None:
    known = {ANYTHING, *COMMANDS} - {c.name for c in PERSONAL_COMMANDS}
    if unknown := set(rule.commands) - known:
        raise RuleError(f"rule {rule.id} is for commands that there are not: {sorted(unknown)}")
    if not rule.commands or not rule.key_classes or not rule.roles:
        raise RuleError(f"rule {rule.id} covers nothing, or asks nobody")
    if not 0 < rule.expires_after <= MAX_EXPIRY or rule.wait >= rule.expires_after:
        raise RuleError(f"rule {rule.id} expires after {rule.expires_after} seconds, or too soon")
    if not 1 <= rule.groups <= rule.approvals or (rule.groups > 1) != (rule.group_by is not None):
        raise RuleError(f"rule {rule.id} asks for groups that do not add up")


def _check_power(rule: Rule) -> None:
    alone = set(rule.commands) <= _PROTECTIVE and not rule.break_glass
    if rule.approvals < (1 if alone else MIN_APPROVALS):
        raise RuleError(
            f"rule {rule.id} asks for {rule.approvals} approvals, fewer than {MIN_APPROVALS}",
            next_step=f"one is enough only for: {', '.join(sorted(_PROTECTIVE))}",
        )
    if rule.break_glass and (rule.expires_after > MAX_BREAK_GLASS or rule.wait):
        raise RuleError(
            f"rule {rule.id} breaks the glass: it waits for nobody, and not longer than "
            f"{MAX_BREAK_GLASS // 3600} hours"
        )


def _check_overlaps(rules: tuple[Rule, ...]) -> None:
    """Of two rules for the same act the stricter one applies, so one has to be it throughout."""
    for at, one in enumerate(rules):
        for other in rules[at + 1 :]:
            if (
                one.break_glass is other.break_glass
                and one.overlaps(other)
                and not (one.as_strict_as(other) or other.as_strict_as(one))
            ):
                raise RuleError(
                    f"rules {one.id} and {other.id} cover the same act, and neither is stricter "
                    "in everything",
                    next_step="let one of them ask for at least all that the other does",
                )
            _check_break_glass(one, other)
            _check_break_glass(other, one)


def _check_break_glass(bigger: Rule, normal: Rule) -> None:
    if not bigger.break_glass or normal.break_glass:
        return
    if bigger.overlaps(normal) and bigger.approvals <= normal.approvals:
        raise RuleError(
            f"rule {bigger.id} breaks the glass with {bigger.approvals} approvals, and rule "
            f"{normal.id} asks for {normal.approvals}",
            next_step="breaking the glass takes more people, never fewer",
        )


def _check_complete(authority: Authority) -> None:
    """Raise `RuleError` if a change of authority could never be made again."""
    for name in sorted(_NEEDED):
        authority.rule_for(name)
    _check_mendable(authority)


def _check_mendable(authority: Authority) -> None:
    """Somebody must be left who can ask for a successor, and enough others who can agree."""
    for command in (RegisterPerson, EnrolCredential):
        rule = authority.rule_for(command.name)
        roles = roles_for(asking(command))
        people = authority.people.values()
        # Who can log in can ask: that takes no signature of a key that decides.
        able_to_ask = [p for p in people if p.credentials and _holds(p, roles, authority.at)]
        able_to_sign = electors(authority, rule)
        if not any(meets(rule, [p for p in able_to_sign if p is not one]) for one in able_to_ask):
            raise RuleError(
                "without them, nobody could be registered any more",
                next_step="register a successor first; until then: keyvault people hold",
            )
