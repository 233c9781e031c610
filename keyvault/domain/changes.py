"""What each authority record changes, once it is cleared: one function for each command."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from keyvault.domain.authority import Authority
from keyvault.domain.commands import (
    AUTHORITY_COMMANDS,
    AcknowledgeDuty,
    ChangePerson,
    Command,
    EnrolCredential,
    EnrolSystem,
    HoldPerson,
    RegisterPerson,
    ReinstatePerson,
    RemovePerson,
    RemoveRule,
    ReviewScreening,
    RevokeCredential,
    RevokeSystem,
    RotateSystem,
    SetDuty,
    SetKeyClass,
    SetRule,
    SetSpareKey,
    SetStandard,
    SuspendPerson,
)
from keyvault.domain.commands.people import MAX_HOLD_HOURS
from keyvault.domain.errors import AuthorityError
from keyvault.domain.people import Hold, Person, Pin, Screening, System, thumbprint
from keyvault.domain.scopes import Scope
from keyvault.domain.times import day_of, time_of

T = TypeVar("T")
HOLD_PAUSE = timedelta(hours=MAX_HOLD_HOURS)  # from one hold to the next that one person may set

SpkiOf = Callable[[bytes], bytes]
"""A certificate in DER → its SubjectPublicKeyInfo. Given by whoever knows X.509."""


def applied(
    authority: Authority,
    command: Command,
    scope: Scope | None,
    at: datetime,
    spki_of: SpkiOf,
) -> Authority:
    """Return authority as it is after this command, carried out at `at`. `AuthorityError` else."""
    authority = replace(authority, at=at)
    if isinstance(command, EnrolSystem | RotateSystem | RevokeSystem):
        return _with_system(authority, command, scope, at, spki_of)
    if scope is not None and isinstance(command, AUTHORITY_COMMANDS):
        raise AuthorityError(
            f"{command.name} concerns every scope", next_step="ask for it without a scope"
        )
    if personal := _PEOPLE.get(type(command)):
        person = _known(authority.people, command.person)  # type: ignore[attr-defined]  # of _PEOPLE
        changed = personal(authority, person, command, at)
        return replace(authority, people={**authority.people, changed.id: changed})
    if general := _RULES.get(type(command)):
        return general(authority, command, at)
    raise AuthorityError(f"{command.name} does not change authority")


def _register(authority: Authority, new: RegisterPerson, at: datetime) -> Authority:
    if new.person in authority.people:
        raise AuthorityError(f"{new.person} is registered already")
    check_reviewed(new.screening, at)
    for one in new.credentials:
        _check_new(authority, one.thumbprint)
    return replace(authority, people={**authority.people, new.person: person_from(new)})


def person_from(new: RegisterPerson) -> Person:
    """The person as a joiner's record, or genesis, describes them."""
    return Person(
        id=new.person,
        name=new.full_name,
        organisation=new.organisation,
        site=new.site,
        manager=new.manager,
        credentials=new.credentials,
        grants=new.grants,
        screening=new.screening,
    )


def _remove(authority: Authority, leaver: RemovePerson, _: datetime) -> Authority:
    _known(authority.people, leaver.person)
    return replace(authority, people=_without(authority.people, leaver.person))


def _move(_: Authority, person: Person, new: ChangePerson, __: datetime) -> Person:
    return replace(
        person,
        organisation=new.organisation,
        site=new.site,
        manager=new.manager,
        grants=new.grants,
    )


def check_reviewed(screening: Screening, at: datetime) -> None:
    """Raise `AuthorityError` if the review is yet to come: its year would begin later."""
    if day_of(screening.reviewed_on) > at:
        raise AuthorityError(f"a review on {screening.reviewed_on} has not taken place yet")


def _review(_: Authority, person: Person, new: ReviewScreening, at: datetime) -> Person:
    check_reviewed(new.screening, at)
    if day_of(new.screening.reviewed_on) < day_of(person.screening.reviewed_on):
        raise AuthorityError(f"{person.name} was reviewed on {person.screening.reviewed_on}, later")
    return replace(person, screening=new.screening)


def _acknowledge(
    authority: Authority, person: Person, word: AcknowledgeDuty, _: datetime
) -> Person:
    duty = authority.duty(word.duty)
    if (duty.version, duty.sha256) != (word.version, word.sha256):
        raise AuthorityError(f"{duty.name} stands at version {duty.version} and another text")
    return person.acknowledges(duty.name, duty.version)


def _hold(_: Authority, person: Person, new: HoldPerson, at: datetime) -> Person:
    before = person.hold
    if before and (before.until is None or at < before.until + HOLD_PAUSE):
        raise AuthorityError(
            f"{person.name} is suspended, or was on hold until lately: one person alone cannot "
            "keep them away",
            next_step="let two decide on a suspension: keyvault people suspend",
        )
    return replace(person, hold=Hold(new.reason, at, at + timedelta(hours=new.hours)))


def _suspend(_: Authority, person: Person, new: SuspendPerson, at: datetime) -> Person:
    return replace(person, hold=Hold(new.reason, at))


def _reinstate(_: Authority, person: Person, __: ReinstatePerson, at: datetime) -> Person:
    if person.hold is None or not person.hold.binds(at):
        raise AuthorityError(f"{person.name} is not on hold")
    return replace(person, hold=None)


def _enrol(authority: Authority, person: Person, new: EnrolCredential, _: datetime) -> Person:
    _check_new(authority, new.credential.thumbprint)
    return replace(person, credentials=(*person.credentials, new.credential))


def _revoke(_: Authority, person: Person, lost: RevokeCredential, __: datetime) -> Person:
    left = tuple(one for one in person.credentials if one.thumbprint != lost.thumbprint)
    if left == person.credentials:
        raise AuthorityError(f"{person.name} has no such credential")
    return replace(person, credentials=left)


def _with_system(
    authority: Authority,
    command: EnrolSystem | RotateSystem | RevokeSystem,
    scope: Scope | None,
    at: datetime,
    spki_of: SpkiOf,
) -> Authority:
    if isinstance(command, EnrolSystem):
        system = _enrolled(authority, command, scope, spki_of)
    else:
        system = _known(authority.systems, command.system)
    if system.scope != scope:
        raise AuthorityError(f"{system.id} belongs to another scope")
    if isinstance(command, RevokeSystem):
        return replace(authority, systems=_without(authority.systems, system.id))
    if isinstance(command, RotateSystem):
        system = _rotated(authority, system, command, at, spki_of)
    return replace(authority, systems={**authority.systems, system.id: system})


def _enrolled(
    authority: Authority, new: EnrolSystem, scope: Scope | None, spki_of: SpkiOf
) -> System:
    if new.system in authority.systems:
        raise AuthorityError(f"{new.system} is enrolled already")
    if scope is None:
        raise AuthorityError("a system is enrolled for one scope")
    return System(
        new.system,
        new.full_name,
        scope,
        (_pin(authority, new, spki_of),),
        frozenset(new.actions),
        frozenset(new.keys),
        time_of(new.until),
    )


def _rotated(
    authority: Authority, system: System, new: RotateSystem, at: datetime, spki_of: SpkiOf
) -> System:
    last = replace(system.pins[-1], until=at + timedelta(hours=new.overlap_hours))
    pins = (last, _pin(authority, new, spki_of))
    return replace(system, pins=pins, until=time_of(new.until))


def _pin(authority: Authority, new: EnrolSystem | RotateSystem, spki_of: SpkiOf) -> Pin:
    spki_sha256 = thumbprint(spki_of(new.certificate))
    _check_new(authority, spki_sha256)
    spki_of(new.issuer)  # it has to be one
    return Pin(spki_sha256, new.certificate, new.issuer)


def _check_new(authority: Authority, spki_sha256: str) -> None:
    if authority.knows(spki_sha256):
        raise AuthorityError("this key is enrolled already")


def _set_rule(authority: Authority, new: SetRule, _: datetime) -> Authority:
    others = tuple(rule for rule in authority.rules if rule.id != new.rule.id)
    return replace(authority, rules=(*others, new.rule))


def _remove_rule(authority: Authority, old: RemoveRule, _: datetime) -> Authority:
    left = tuple(rule for rule in authority.rules if rule.id != old.rule)
    if left == authority.rules:
        raise AuthorityError(f"no rule is called {old.rule}")
    return replace(authority, rules=left)


def _set_key_class(authority: Authority, new: SetKeyClass, _: datetime) -> Authority:
    classes = {**authority.key_classes, new.key_class.name: new.key_class}
    return replace(authority, key_classes=classes)


def _set_duty(authority: Authority, new: SetDuty, _: datetime) -> Authority:
    others = tuple(duty for duty in authority.duties if duty.name != new.duty.name)
    before = next((duty for duty in authority.duties if duty.name == new.duty.name), None)
    if new.duty.version != (before.version + 1 if before else 1):
        raise AuthorityError(f"{new.duty.name} follows with the version after the last one")
    return replace(authority, duties=(*others, new.duty))


def _set_standard(authority: Authority, new: SetStandard, _: datetime) -> Authority:
    name, edition = new.standard.name, new.standard.edition
    others = tuple(one for one in authority.standards if (one.name, one.edition) != (name, edition))
    return replace(authority, standards=(*others, new.standard))


def _set_spare_key(authority: Authority, new: SetSpareKey, _: datetime) -> Authority:
    return replace(authority, spare=new.spki)


_PEOPLE: dict[type[Command], Callable[[Authority, Person, Any, datetime], Person]] = {
    ChangePerson: _move,
    ReviewScreening: _review,
    AcknowledgeDuty: _acknowledge,
    HoldPerson: _hold,
    SuspendPerson: _suspend,
    ReinstatePerson: _reinstate,
    EnrolCredential: _enrol,
    RevokeCredential: _revoke,
}
_RULES: dict[type[Command], Callable[[Authority, Any, datetime], Authority]] = {
    RegisterPerson: _register,
    RemovePerson: _remove,
    SetRule: _set_rule,
    RemoveRule: _remove_rule,
    SetKeyClass: _set_key_class,
    SetDuty: _set_duty,
    SetStandard: _set_standard,
    SetSpareKey: _set_spare_key,
}


def _known(items: dict[str, T], name: str) -> T:
    if name not in items:
        raise AuthorityError(f"{name} is not registered")
    return items[name]


def _without(items: dict[str, T], name: str) -> dict[str, T]:
    return {key: value for key, value in items.items() if key != name}
