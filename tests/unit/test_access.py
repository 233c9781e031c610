"""Authorisation: the whole matrix, written out here a second time."""

from datetime import timedelta

import pytest

from keyvault.domain.access import (
    KEY_USES,
    PERMISSIONS,
    SYSTEM_ACTIONS,
    Action,
    Deny,
    Permit,
    Principal,
    decide,
    readable_scope,
)
from keyvault.domain.people import Person, Role, System
from keyvault.domain.scopes import Scope
from tests.unit.officers import NOW, SCOPE
from tests.unit.test_keys import key

LATER = NOW + timedelta(hours=8)
# o owner, c custodian, a approver, r registrar, i incident lead, u auditor
MATRIX = """
key:order        o
key:read         o c a r i u
key:change       o c
key:suspend      c i
key:compromise   c i
key:sign
key:verify
key:encrypt
key:decrypt
key:mac
key:derive
key:wrap
random:read
request:read     o c a r i u
request:decide   a
request:execute  o c a r
request:cancel   o c r
people:read      o c a r i u
people:change    r
audit:read       u
audit:export     u
metrics:read     u
service:read     o c a r i u
"""
LETTERS = dict(zip("ocariu", Role, strict=True))
ALLOWED = {
    (LETTERS[letter], Action(line.split()[0]))
    for line in MATRIX.strip().split("\n")
    for letter in line.split()[1:]
}


def person(*roles):
    return Principal(Person("pat", "Pat", frozenset(roles), b"spki"), LATER, "00" * 32)


def system(*actions, keys=("*",), scope=SCOPE):
    one = System("dcc-1", "DCC", scope, b"", "00" * 32, frozenset(actions), frozenset(keys))
    return Principal(one, LATER, "00" * 32)


def test_the_matrix_speaks_of_every_action():
    assert [line.split()[0] for line in MATRIX.strip().split("\n")] == [str(a) for a in Action]
    assert set(PERMISSIONS) == set(Role)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("role", Role)
def test_a_role_may_do_what_the_matrix_says_and_nothing_else(role, action):
    answer = decide(person(role), action, NOW)
    if (role, action) in ALLOWED:
        assert answer == Permit(str(role))
    else:
        assert answer == Deny(f"none of the roles of Pat allows {action}")


def test_no_person_uses_a_key():
    everything = person(*Role)
    assert all(isinstance(decide(everything, use, NOW), Deny) for use in KEY_USES)


def test_the_role_that_allows_is_named_and_the_same_each_time():
    both = person(Role.INCIDENT_LEAD, Role.KEY_CUSTODIAN)
    assert {decide(both, Action.KEY_SUSPEND, NOW) for _ in range(20)} == {Permit("incident-lead")}


def test_a_person_without_roles_may_do_nothing():
    assert all(isinstance(decide(person(), action, NOW), Deny) for action in Action)


@pytest.mark.parametrize("action", Action)
def test_a_system_never_takes_a_step_in_a_keys_life(action):
    answer = decide(system(*map(str, Action)), action, NOW, key=key())
    assert answer == Permit("api-client") if action in SYSTEM_ACTIONS else isinstance(answer, Deny)


def test_systems_use_keys_and_read_and_that_is_all():
    reading = {Action.KEY_READ, Action.RANDOM, Action.METRICS_READ}
    assert reading == SYSTEM_ACTIONS - KEY_USES


@pytest.mark.parametrize("action", sorted(SYSTEM_ACTIONS))
def test_a_system_does_only_what_its_enrolment_names(action):
    others = {str(other) for other in SYSTEM_ACTIONS - {action}}
    assert isinstance(decide(system(*others), action, NOW, key=key()), Deny)


def test_a_system_uses_only_its_keys_in_its_scope():
    elsewhere = Scope("1f-example", "network-operator", "u1")
    named = system("key:sign", keys=(str(key().id),))
    assert decide(named, Action.KEY_SIGN, NOW, key=key()) == Permit("api-client")
    for denied in (system("key:sign", keys=("other",)), system("key:sign", scope=elsewhere)):
        answer = decide(denied, Action.KEY_SIGN, NOW, key=key())
        assert answer == Deny("the enrolment of DCC does not name this key")


def test_what_concerns_no_key_needs_no_key():
    assert decide(system("random:read"), Action.RANDOM, NOW) == Permit("api-client")


@pytest.mark.parametrize(
    "who", [person(*Role), system(*map(str, Action))], ids=["person", "system"]
)
@pytest.mark.parametrize("action", Action)
def test_a_session_ends_to_the_second(who, action):
    ended = Deny("the session or certificate has ended")
    assert decide(who, action, LATER, key=key()) == ended
    assert decide(who, action, LATER - timedelta(seconds=1), key=key()) != ended


def test_a_system_lists_only_its_own_scope_and_a_person_sees_all():
    assert readable_scope(system()) == SCOPE
    assert readable_scope(person(Role.AUDITOR)) is None


def test_principals_are_named_as_the_log_names_them():
    assert (person().actor, person().id) == ("person:pat", "pat")
    assert (system().actor, system().id) == ("system:dcc-1", "dcc-1")
