"""Rules of dual control: who has to sign for what, how many, how independent, how soon."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from keyvault.domain.errors import InvalidInputError, RuleError
from keyvault.domain.people import Assurance, Person, Role, Vetting, check_id
from keyvault.domain.times import day_of

ANYTHING = "*"
MAX_EXPIRY = 31 * 86_400  # seconds: who signed a month ago has to be asked again
MAX_BREAK_GLASS = 4 * 3_600  # seconds


class GroupBy(StrEnum):
    """What makes two approvers independent of each other."""

    ORGANISATION = "organisation"
    SITE = "site"
    MANAGER = "manager"  # the reporting line: who reports to one person decides as that person


@dataclass(frozen=True, slots=True)
class Rule:
    """How many distinct holders of one of `roles`, never the requester, must sign for `commands`.

    They come from at least `groups` groups. What is asked for is carried out no sooner than
    `wait` and no later than `expires_after` seconds after it was asked. `key_classes` is (*,) for
    every class, and for commands without a key. A rule for breaking the glass waits for nobody,
    asks for more people, and is used only by those who say so.
    """

    id: str
    commands: tuple[str, ...]
    key_classes: tuple[str, ...]
    roles: tuple[Role, ...]
    approvals: int
    expires_after: int
    wait: int = 0
    group_by: GroupBy | None = None
    groups: int = 1
    assurance: Assurance = Assurance.SOFTWARE
    vetting: Vetting = Vetting.BASELINE
    break_glass: bool = False

    def __post_init__(self) -> None:
        check_id(self.id)

    def covers(self, command: str, key_class: str) -> bool:
        return (command in self.commands or ANYTHING in self.commands) and (
            key_class in self.key_classes or ANYTHING in self.key_classes
        )

    def overlaps(self, other: "Rule") -> bool:
        """Whether both can cover one and the same act."""
        return _meet(self.commands, other.commands) and _meet(self.key_classes, other.key_classes)

    def as_strict_as(self, other: "Rule") -> bool:
        """Whether nothing that this rule allows would be refused by `other`."""
        return (
            set(self.roles) <= set(other.roles)
            and self.approvals >= other.approvals
            and self.wait >= other.wait
            and self.expires_after <= other.expires_after
            and (other.groups <= 1 or (self.group_by is other.group_by))
            and self.groups >= other.groups
            and self.assurance.meets(other.assurance)
            and self.vetting.meets(other.vetting)
        )

    def joined(self, old: "Rule") -> "Rule":
        """The rule for changing `old`: this one, and of whoever decides all that `old` asks too.

        Raises `RuleError` where nobody could decide under both.
        """
        by_group = self if self.groups >= old.groups else old
        wait = max(self.wait, old.wait)
        roles = tuple(role for role in self.roles if role in old.roles)
        if not roles or (min(self.groups, old.groups) > 1 and self.group_by is not old.group_by):
            raise RuleError(
                f"rules {self.id} and {old.id} ask people of other roles or groups",
                next_step="let the rule for set-rule and remove-rule share a role with each rule",
            )
        return replace(
            self,
            roles=roles,
            approvals=max(self.approvals, old.approvals),
            expires_after=(self if wait < self.expires_after else old).expires_after,
            wait=wait,
            group_by=by_group.group_by,
            groups=by_group.groups,
            assurance=self.assurance if self.assurance.meets(old.assurance) else old.assurance,
            vetting=self.vetting if self.vetting.meets(old.vetting) else old.vetting,
        )

    def group_of(self, person: Person) -> str:
        """Which group a person's signature counts for. Nobody's manager is a group of its own."""
        match self.group_by:
            case GroupBy.ORGANISATION:
                return person.organisation
            case GroupBy.SITE:
                return person.site
            case GroupBy.MANAGER:
                return person.manager or person.id
            case None:
                return ""


@dataclass(frozen=True, slots=True)
class Standard:
    """An edition of a standard. It counts from the day its body set, not from publication.

    Without such a day it is announced, and never comes into force by itself.
    """

    name: str
    edition: str
    in_force_from: str | None
    transition_until: str | None
    reference: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ./-]{0,63}", self.name):
            raise InvalidInputError("a standard is named by letters, digits, spaces, . / and -")
        for day in (self.in_force_from, self.transition_until):
            if day is not None:
                day_of(day)


def strictest(rules: Iterable[Rule]) -> Rule:
    """The first that is as strict as every other. Raises `RuleError` where none is."""
    listed = list(rules)
    for rule in listed:
        if all(rule.as_strict_as(other) for other in listed):
            return rule
    raise RuleError(
        f"of the rules {', '.join(sorted(rule.id for rule in listed))} none is the strictest",
        next_step="let one of them ask for at least all that the others do",
    )


def _meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return ANYTHING in (*one, *other) or bool(set(one) & set(other))
