"""Whether every rule can be met: now, in a month and in a quarter, so that nobody learns it late.

Pure, as `standing` is. What lapses by the clock is known beforehand, and so is when it hurts.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from keyvault.domain.access import asking, roles_for
from keyvault.domain.authority import Authority
from keyvault.domain.commands import COMMANDS, PERSONAL_COMMANDS, PROTECTIVE_COMMANDS
from keyvault.domain.people import Person
from keyvault.domain.quorum import MIN_APPROVALS, able
from keyvault.domain.rules import ANYTHING, Rule
from keyvault.domain.standing import Lapse, Reach

HORIZONS = (timedelta(0), timedelta(days=30), timedelta(days=90))


class Level(StrEnum):
    """How far a rule is from breaking, the best first."""

    GOOD = "good"
    NO_SPARE = "no-spare"  # nobody more may fall away, or be the one who is decided about
    AT_RISK = "at-risk"  # it breaks within the horizon, by the clock alone
    BROKEN = "broken"  # nobody may ask, or one who may would not get enough signatures


@dataclass(frozen=True, slots=True)
class Outlook:
    """Who can sign under a rule at one time, for what concerns every scope.

    `margin` is how many of them may fall away, whoever they are and whoever asks, before the rule
    cannot be met; below 0 it cannot be met.
    """

    at: datetime
    able: tuple[str, ...]
    margin: int


@dataclass(frozen=True, slots=True)
class Loss:
    """Who can sign now and not at the end of the horizon, and the first reason."""

    person: str
    lapse: Lapse


@dataclass(frozen=True, slots=True)
class Quorum:
    """A rule, the people behind it, and what the clock will do to them."""

    rule: Rule
    needed: int
    outlooks: tuple[Outlook, ...]  # one for each horizon, now first
    losses: tuple[Loss, ...]

    @property
    def level(self) -> Level:
        margins = [outlook.margin for outlook in self.outlooks]
        if margins[0] < 0:
            return Level.BROKEN
        if min(margins) < 0:
            return Level.AT_RISK
        return Level.NO_SPARE if min(margins) == 0 else Level.GOOD

    @property
    def text(self) -> str:
        """What an operator has to know, in a sentence."""
        first, last = self.outlooks[0], self.outlooks[-1]
        counted = f"rule {self.rule.id}: {len(first.able)} can sign and {self.needed} must"
        match self.level:
            case Level.BROKEN:
                return f"{counted}: not everybody who asks can get enough signatures"
            case Level.AT_RISK:
                reasons = "; ".join(loss.lapse.text for loss in self.losses)
                return f"{counted}: it breaks within {(last.at - first.at).days} days: {reasons}"
            case Level.NO_SPARE:
                return f"{counted}: nobody more may fall away, nor be decided about"
            case Level.GOOD:
                return counted


def health(
    authority: Authority, at: datetime, horizons: tuple[timedelta, ...] = HORIZONS
) -> tuple[Quorum, ...]:
    """Say for every rule who can sign at `at` and later, and how much room that leaves."""
    return tuple(_quorum(authority, rule, at, horizons) for rule in authority.rules)


def without(authority: Authority, person: str) -> Authority:
    """The same authority with nobody of this id: what remains if they leave."""
    people = {key: value for key, value in authority.people.items() if key != person}
    return replace(authority, people=people)


def spare(rule: Rule, people: Iterable[Person]) -> int:
    """How many of these may fall away, whoever they are, before they do not meet the rule."""
    sizes = sorted(Counter(map(rule.group_of, people)).values())
    beyond = len(sizes) - rule.groups
    groups = sum(sizes[: beyond + 1]) - 1 if beyond >= 0 else beyond
    return min(sum(sizes) - needed(rule), groups)


def needed(rule: Rule) -> int:
    """How many must sign: never fewer than two, but for what one person may do alone."""
    return rule.approvals if _alone(rule) else max(rule.approvals, MIN_APPROVALS)


def _quorum(
    authority: Authority, rule: Rule, at: datetime, horizons: tuple[timedelta, ...]
) -> Quorum:
    outlooks = tuple(_outlook(authority, rule, at + horizon) for horizon in horizons)
    gone = sorted(set(outlooks[0].able) - set(outlooks[-1].able))
    losses = (_loss(authority, rule, authority.people[one], outlooks[-1].at) for one in gone)
    return Quorum(rule, needed(rule), outlooks, tuple(losses))


def _outlook(authority: Authority, rule: Rule, at: datetime) -> Outlook:
    people, electorate = authority.people.values(), authority.electorate
    signing = [
        p for p in people if able(p, rule) and electorate.role_of(p, rule.roles, Reach.ALL, at)
    ]
    roles = {role for name in _names(rule) for role in roles_for(asking(COMMANDS[name]))}
    may_ask = [p for p in people if electorate.role_of(p, roles, Reach.ANY, at)]
    names = tuple(sorted(person.id for person in signing))
    return Outlook(at, names, _margin(rule, signing, may_ask))


def _margin(rule: Rule, signing: list[Person], may_ask: list[Person]) -> int:
    """The room that the worst requester leaves, who never signs but for what one may do alone."""
    if not may_ask:
        return -1
    both = [one for one in may_ask if one in signing and not _alone(rule)]
    left = [[person for person in signing if person is not one] for one in both] or [signing]
    return min(spare(rule, people) for people in left)


def _loss(authority: Authority, rule: Rule, person: Person, at: datetime) -> Loss:
    """Say what ends their last role, of all that has ended by `at` what ends first."""
    held = [role for role in sorted(rule.roles) if role in person.roles]
    ends = (authority.electorate.lapses(person, role, Reach.ALL, at) for role in held)
    first = [min(lapses, key=_since) for lapses in ends]
    return Loss(person.id, max(first, key=_since))


def _since(lapse: Lapse) -> float:
    return lapse.since.timestamp() if lapse.since else 0


def _names(rule: Rule) -> tuple[str, ...]:
    personal = {command.name for command in PERSONAL_COMMANDS}
    everything = tuple(name for name in COMMANDS if name not in personal)
    return everything if ANYTHING in rule.commands else rule.commands


def _alone(rule: Rule) -> bool:
    protective = {command.name for command in PROTECTIVE_COMMANDS}
    return rule.approvals == 1 and set(rule.commands) <= protective
