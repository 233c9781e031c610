"""Whether a person's rights count at a second: roles held, reviewed, acknowledged, not on hold.

Pure and without memory. A lapse makes rights dormant by the clock alone, no job has to run, and
the same question about any past second gets the answer it had then.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keyvault.domain.people import EVERYWHERE, Duty, Grant, Person, Role
from keyvault.domain.scopes import Scope
from keyvault.domain.times import day_of, text_of, time_of


class Reach(StrEnum):
    """Where a right has to reach, if not to one scope."""

    ALL = "all"  # what concerns every scope, as authority itself does
    ANY = "any"  # what any grant will do for, as reading one's own does


Where = Scope | Reach
SCREENING_DUE = "screening-due"
ASK_REGISTRAR = "ask a registrar who may grant it"

# Separation of duties: no person holds both for the same scope.
CONFLICTS: frozenset[frozenset[Role]] = frozenset(
    {
        frozenset({Role.KEY_OWNER, Role.KEY_CUSTODIAN}),
        frozenset({Role.HSM_SECURITY_OFFICER, Role.KEY_CUSTODIAN}),
        frozenset({Role.HSM_SECURITY_OFFICER, Role.KEY_APPROVER}),
        frozenset({Role.REGISTRAR, Role.TOKEN_ISSUER}),
        frozenset({Role.REGISTRAR, Role.SENIOR_RESPONSIBLE_OFFICER}),
        *(
            frozenset({Role.AUDITOR, role})
            for role in Role
            if role not in (Role.AUDITOR, Role.TOKEN_HOLDER, Role.WITNESS)
        ),
        *(
            frozenset({Role.SYSTEM_ADMINISTRATOR, role})
            for role in Role
            if role not in (Role.SYSTEM_ADMINISTRATOR, Role.AUDITOR, Role.TOKEN_HOLDER)
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Lapse:
    """Why a role does not count. `code` is stable; `since` is when it stopped, if it ever did."""

    code: str
    text: str
    since: datetime | None = None

    @property
    def next_step(self) -> str:
        """Who can mend it, and how."""
        return _REMEDIES.get(self.code, ASK_REGISTRAR)


_REMEDIES = {
    "role-expired": "ask a registrar to grant it anew: keyvault people change",
    "on-hold": "others end it: keyvault people reinstate",
    SCREENING_DUE: "ask a registrar to record the review: keyvault people review",
    "duty-unacknowledged": "read and acknowledge it: keyvault duties acknowledge",
    "conflict": "ask a registrar to take one of the two away: keyvault people change",
}


@dataclass(frozen=True, slots=True)
class Electorate:
    """Who may sign at all: the persons and duties of one authority record."""

    people: Mapping[str, Person]
    duties: tuple[Duty, ...]

    def lapses(self, person: Person, role: Role, where: Where, at: datetime) -> tuple[Lapse, ...]:
        return lapses(person, self.duties, role, where, at)

    def role_of(
        self, person: Person, roles: Iterable[Role], where: Where, at: datetime
    ) -> Role | None:
        """The first of `roles` that counts for `person` there and then."""
        return next(
            (role for role in sorted(roles) if not self.lapses(person, role, where, at)), None
        )


def lapses(
    person: Person, duties: Iterable[Duty], role: Role, where: Where, at: datetime
) -> tuple[Lapse, ...]:
    """Say everything that keeps `role` from counting for `where` at `at`. Empty: it counts."""
    held = [grant for grant in person.grants if grant.role is role and reaches(grant, where)]
    if not held:
        return (Lapse("not-granted", f"{person.name} does not hold the role {role}"),)
    found = [_expired(person, held, at), _on_hold(person, at), _unscreened(person, at)]
    found += [_unacknowledged(person, duty, at) for duty in duties if role in duty.roles]
    found.append(_conflicting(person, held, at))
    return tuple(lapse for lapse in found if lapse)


def reaches(grant: Grant, where: Where) -> bool:
    if grant.scope == EVERYWHERE or where is Reach.ANY:
        return True
    return grant.scope == str(where) if isinstance(where, Scope) else False


def conflicts(grants: Iterable[Grant]) -> list[tuple[Grant, Grant]]:
    """Pairs of grants that separation of duties keeps apart."""
    listed = list(grants)
    return [
        (one, other)
        for at, one in enumerate(listed)
        for other in listed[at + 1 :]
        if frozenset({one.role, other.role}) in CONFLICTS and one.overlaps(other)
    ]


def _expired(person: Person, held: list[Grant], at: datetime) -> Lapse | None:
    until = max(time_of(grant.until) for grant in held)
    if at < until:
        return None
    return Lapse(
        "role-expired", f"the role {held[0].role} of {person.name} ended {text_of(until)}", until
    )


def _on_hold(person: Person, at: datetime) -> Lapse | None:
    hold = person.hold
    if hold is None or not hold.binds(at):
        return None
    return Lapse("on-hold", f"{person.name} is on hold: {hold.reason}", hold.since)


def _unscreened(person: Person, at: datetime) -> Lapse | None:
    if at < person.screening.lapses_at:
        return None
    due = person.screening.due
    text = f"the screening of {person.name} was due for review on {due}"
    return Lapse(SCREENING_DUE, text, person.screening.lapses_at)


def _unacknowledged(person: Person, duty: Duty, at: datetime) -> Lapse | None:
    if at < day_of(duty.since) or dict(person.acknowledged).get(duty.name, 0) >= duty.version:
        return None
    text = f"{person.name} has not acknowledged {duty.name}, version {duty.version}"
    return Lapse("duty-unacknowledged", text, day_of(duty.since))


def _conflicting(person: Person, held: list[Grant], at: datetime) -> Lapse | None:
    live = [grant for grant in person.grants if at < time_of(grant.until)]
    for one, other in conflicts(live):
        if one in held or other in held:
            text = f"{person.name} holds {one.role} and {other.role}, which nobody may do together"
            return Lapse("conflict", text)
    return None
