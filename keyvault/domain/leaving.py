"""What a leaver takes with them, as far as authority alone can say: before anybody agrees to it."""

from dataclasses import dataclass
from datetime import datetime

from keyvault.domain.authority import Authority
from keyvault.domain.people import EVERYWHERE, Grant, Role
from keyvault.domain.quorums import Quorum, health, without
from keyvault.domain.times import time_of

# Roles that somebody has to hold for every scope that they are held for.
KEEPERS = (Role.KEY_OWNER, Role.KEY_CUSTODIAN)


@dataclass(frozen=True, slots=True)
class Hurt:
    """A rule that the leaver could sign under, with them and without."""

    before: Quorum
    after: Quorum


def hurt(authority: Authority, person: str, at: datetime) -> tuple[Hurt, ...]:
    """The rules under which one person fewer can sign at `at`."""
    rest = without(authority, person)
    pairs = zip(health(authority, at), health(rest, at), strict=True)
    return tuple(
        Hurt(one, other) for one, other in pairs if one.outlooks[0].able != other.outlooks[0].able
    )


def orphaned(authority: Authority, person: str, at: datetime) -> tuple[Grant, ...]:
    """What they alone hold: the keys of such a scope would have no owner, or no custodian."""
    others = [
        grant
        for one in authority.people.values()
        if one.id != person
        for grant in one.grants
        if at < time_of(grant.until)
    ]
    return tuple(
        grant
        for grant in authority.person(person).grants
        if grant.role in KEEPERS and not any(_covers(other, grant) for other in others)
    )


def reports(authority: Authority, person: str) -> tuple[str, ...]:
    """Who reports to them: to whom from then on is to be said."""
    people = authority.people.values()
    return tuple(sorted(one.id for one in people if one.manager == person))


def _covers(other: Grant, grant: Grant) -> bool:
    return other.role is grant.role and other.scope in (EVERYWHERE, grant.scope)
