"""What people have to be told before it is too late: 90, 30 and 7 days before a right ends.

Pure: told from authority and the time. Whoever sends keeps what was sent by `Notice.key`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from keyvault.domain.approvals import Request
from keyvault.domain.authority import Authority
from keyvault.domain.people import Duty, Person, Role, System
from keyvault.domain.quorum import alone, where_of
from keyvault.domain.times import day_of, text_of, time_of

DAYS = (90, 30, 7)
ENDED = 0  # the last notice: it has ended


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell some people once. `due` is when it ends, or ended."""

    key: str
    people: tuple[str, ...]
    subject: str
    text: str
    due: datetime


class CarrierError(Exception):
    """A notice could not be handed over; it is tried again."""


class Carrier(Protocol):
    """One way to people. `send` hands a notice over for one of them, or raises `CarrierError`."""

    name: str

    def reaches(self, person: str) -> bool: ...

    def send(self, notice: Notice, person: str) -> None: ...


def of_authority(authority: Authority, at: datetime) -> Iterator[Notice]:
    """What will end within 90 days or has ended, each with the nearest mark that was passed."""
    registrars = holders(authority, (Role.REGISTRAR,), at)
    for person in authority.people.values():
        told = tuple(sorted({person.id, *registrars}))
        yield from _screening(person, told, at)
        yield from _grants(person, told, at)
        yield from _duties(person, authority.duties, at)
    for system in authority.systems.values():
        yield from _system(system, tuple(sorted(registrars)), at)


def of_request(authority: Authority, request: Request, at: datetime) -> Notice | None:
    """Tell those who may sign that somebody waits for them. None if it is nobody's turn."""
    if alone(request) or at >= request.expires_at:
        return None
    able = {
        person.id
        for person in authority.people.values()
        if person.id != request.requester
        and authority.electorate.role_of(person, request.rule.roles, where_of(request), at)
    }
    if not able:
        return None
    text = (
        f"{request.requester} asks for {request.command.name}; it takes {request.rule.approvals} "
        f"signatures until {text_of(request.expires_at)}. Read it and sign or refuse it: "
        f"keyvault approvals approve {request.id}"
    )
    glass = "BREAKING THE GLASS: " if request.rule.break_glass else ""
    subject = f"{glass}{request.command.name} waits for your signature"
    return Notice(f"request:{request.id}", tuple(sorted(able)), subject, text, request.expires_at)


def _screening(person: Person, told: tuple[str, ...], at: datetime) -> Iterator[Notice]:
    end = person.screening.lapses_at
    what = f"the screening of {person.name}"
    yield from _marked(f"screening:{person.id}", what, told, end, at, "keyvault people review")


def _grants(person: Person, told: tuple[str, ...], at: datetime) -> Iterator[Notice]:
    for grant in person.grants:
        key = f"grant:{person.id}:{grant.role}:{grant.scope}"
        what = f"the role {grant.role} of {person.name}"
        yield from _marked(key, what, told, time_of(grant.until), at, "keyvault people change")


def _duties(person: Person, duties: tuple[Duty, ...], at: datetime) -> Iterator[Notice]:
    known = dict(person.acknowledged)
    for duty in duties:
        if person.roles & set(duty.roles) and known.get(duty.name, 0) < duty.version:
            what = f"the time to acknowledge {duty.name}, version {duty.version},"
            key = f"duty:{person.id}:{duty.name}:{duty.version}"
            step = f"keyvault duties acknowledge {duty.name}"
            yield from _marked(key, what, (person.id,), day_of(duty.since), at, step)


def _system(system: System, told: tuple[str, ...], at: datetime) -> Iterator[Notice]:
    what = f"the enrolment of system {system.name}"
    yield from _marked(
        f"system:{system.id}", what, told, system.until, at, "keyvault systems rotate"
    )


def _marked(
    key: str, what: str, told: tuple[str, ...], end: datetime, at: datetime, step: str
) -> Iterator[Notice]:
    passed = [days for days in (*DAYS, ENDED) if end - at <= timedelta(days=days)]
    if not passed:
        return
    mark = passed[-1]
    how = "has ended" if mark == ENDED else f"ends in less than {mark} days"
    subject = f"{what} {how}"
    text = f"{subject}: {text_of(end)}. What to do: {step}"
    yield Notice(f"{key}:{text_of(end)}:{mark}", told, subject, text, end)


def holders(authority: Authority, roles: tuple[Role, ...], at: datetime) -> set[str]:
    """Ids of those who hold any of these roles somewhere."""
    return {
        person.id
        for person in authority.people.values()
        if any(g.role in roles and at < time_of(g.until) for g in person.grants)
    }
