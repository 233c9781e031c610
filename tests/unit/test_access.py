"""Authorisation: every role and every action, and everything that a right rests on."""

from dataclasses import replace
from datetime import timedelta

import pytest

from keyvault.domain.access import (
    KEY_USES,
    OWN_ACTIONS,
    PERMISSIONS,
    SYSTEM_ACTIONS,
    Action,
    Deny,
    Permit,
    Principal,
    asking,
    decide,
    readable,
    roles_for,
)
from keyvault.domain.commands import COMMANDS
from keyvault.domain.people import EVERYWHERE, Grant, Hold, Role, System
from keyvault.domain.scopes import Scope
from keyvault.domain.standing import Reach
from keyvault.domain.times import text_of
from tests.unit.officers import DUTY, NOW, SCOPE, grants, officer
from tests.unit.test_keys import key
from tools import permissions

LATER = NOW + timedelta(hours=8)
ELSEWHERE = Scope("1f-example", "network-operator", "u1")
ENROLLED = System(
    "dcc-1", "DCC", SCOPE, (), frozenset(), frozenset({"*"}), NOW + timedelta(days=365)
)


def person(*roles, scope=EVERYWHERE, duties=(), **changes):
    pat = officer("pat").person
    given = {"name": "Pat", "grants": grants(*roles, scope=scope), **changes}
    return Principal(replace(pat, **given), LATER, "00" * 32, duties)


def system(*actions, **changes):
    one = replace(ENROLLED, actions=frozenset(actions), **changes)
    return Principal(one, LATER, "00" * 32)


# The matrix --------------------------------------------------------------------------------


def test_the_matrix_speaks_of_every_role():
    assert set(PERMISSIONS) == set(Role)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("role", Role)
def test_a_role_may_do_what_the_matrix_says_and_nothing_else(role, action):
    answer = decide(person(role), action, NOW)
    if action in OWN_ACTIONS:
        assert answer == Permit("own")
    elif action in PERMISSIONS[role]:
        assert answer == Permit(str(role))
    else:
        assert answer == Deny(f"none of the roles of Pat allows {action}")


def test_the_page_about_permissions_says_what_the_code_does():
    assert permissions.PAGE.read_text() == permissions.page(), "run: make permissions"


@pytest.mark.parametrize("use", sorted(KEY_USES))
def test_no_person_uses_a_key_whatever_their_roles(use):
    assert roles_for(use) == ()


def test_who_audits_changes_nothing_and_who_runs_hosts_touches_no_key():
    reading = {action for action in Action if str(action).endswith((":read", ":export"))}
    assert PERMISSIONS[Role.AUDITOR] <= reading
    assert PERMISSIONS[Role.SYSTEM_ADMINISTRATOR] == {Action.METRICS_READ}
    assert PERMISSIONS[Role.TOKEN_HOLDER] == frozenset()


def test_whoever_reads_the_log_is_nobody_whom_it_tells_of():
    assert roles_for(Action.AUDIT_READ) == roles_for(Action.AUDIT_EXPORT) == (Role.AUDITOR,)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_somebody_may_ask_for_every_command(command):
    action = asking(COMMANDS[command])
    assert roles_for(action) or action in OWN_ACTIONS


# What a right rests on ---------------------------------------------------------------------


def test_of_several_roles_that_allow_the_everyday_one_is_named_and_the_same_each_time():
    both = person(Role.INCIDENT_LEAD, Role.KEY_CUSTODIAN)
    assert {decide(both, Action.KEY_SUSPEND, NOW) for _ in range(20)} == {Permit("key-custodian")}


def test_a_person_without_roles_does_only_what_is_their_own():
    allowed = {a for a in Action if isinstance(decide(person(), a, NOW), Permit)}
    assert allowed == OWN_ACTIONS


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_a_grant_for_one_scope_allows_nothing_in_another_nor_for_all(role, action):
    here = person(role, scope=SCOPE)
    for where in (ELSEWHERE, Reach.ALL):
        answer = decide(here, action, NOW, where=where)
        assert answer == Permit("own") if action in OWN_ACTIONS else isinstance(answer, Deny)
    other = replace(key(), scope=ELSEWHERE)
    if action not in OWN_ACTIONS:
        assert isinstance(decide(here, action, NOW, key=other), Deny)
    for where in (SCOPE, Reach.ANY, None):
        assert decide(here, action, NOW, where=where) == decide(person(role), action, NOW)


@pytest.mark.parametrize("role", [role for role in Role if PERMISSIONS[role]])
def test_whatever_lapsed_takes_every_action_of_the_role(role):
    duty = replace(DUTY, roles=(role,))
    lapsed = {
        "ended": person(grants=(Grant(role, EVERYWHERE, text_of(NOW)),)),
        "is on hold: lost": person(role, hold=Hold("lost", NOW, LATER)),
        "was due for review": person(
            role, screening=replace(officer("pat").person.screening, **_REVIEWED_LONG_AGO)
        ),
        "has not acknowledged keeping-keys": person(role, duties=(duty,), acknowledged=()),
    }
    for action in PERMISSIONS[role]:
        assert decide(person(role, duties=(duty,)), action, NOW) == Permit(str(role))
        for reason, who in lapsed.items():
            answer = decide(who, action, NOW)
            assert isinstance(answer, Deny)
            assert reason in answer.reason


_REVIEWED_LONG_AGO = {"reviewed_on": "2025-02-28", "due": "2026-02-28"}


def test_what_is_their_own_stays_open_to_all_but_those_on_hold():
    lapsed = person(duties=(DUTY,), acknowledged=())
    held = person(hold=Hold("lost", NOW, LATER))
    for action in OWN_ACTIONS:
        assert decide(lapsed, action, NOW) == Permit("own")
        assert isinstance(decide(held, action, NOW), Deny)


def test_a_review_is_asked_for_and_decided_by_those_whose_own_is_due_and_by_nobody_on_hold():
    due = replace(officer("pat").person.screening, **_REVIEWED_LONG_AGO)
    lapsed = person(Role.REGISTRAR, screening=due)
    held = person(Role.REGISTRAR, screening=due, hold=Hold("lost", NOW))
    for action in (Action.PEOPLE_CHANGE, Action.REQUEST_DECIDE):
        assert isinstance(decide(lapsed, action, NOW), Deny)
        assert decide(lapsed, action, NOW, review=True) == Permit("registrar")
        assert isinstance(decide(held, action, NOW, review=True), Deny)


# Systems -----------------------------------------------------------------------------------


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
    named = system("key:sign", keys=frozenset({str(key().id)}))
    assert decide(named, Action.KEY_SIGN, NOW, key=key()) == Permit("api-client")
    for denied in (
        system("key:sign", keys=frozenset({"other"})),
        system("key:sign", scope=ELSEWHERE),
    ):
        answer = decide(denied, Action.KEY_SIGN, NOW, key=key())
        assert answer == Deny("the enrolment of DCC does not name this key")


def test_what_concerns_no_key_needs_no_key():
    assert decide(system("random:read"), Action.RANDOM, NOW) == Permit("api-client")


# Sessions and lists ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "who", [person(*Role), system(*map(str, Action))], ids=["person", "system"]
)
@pytest.mark.parametrize("action", Action)
def test_a_session_ends_to_the_second(who, action):
    ended = Deny("the session or certificate has ended")
    assert decide(who, action, LATER, key=key()) == ended
    assert decide(who, action, LATER - timedelta(seconds=1), key=key()) != ended


def test_everybody_lists_what_their_roles_reach():
    auditor = (Role.AUDITOR,)
    assert readable(system(), Action.KEY_READ, NOW) == {SCOPE}
    assert readable(person(*auditor), Action.KEY_READ, NOW) is None
    assert readable(person(*auditor, scope=SCOPE), Action.KEY_READ, NOW) == {SCOPE}
    assert readable(person(*auditor, scope=SCOPE), Action.KEY_READ, NOW) == {SCOPE}
    assert readable(person(), Action.KEY_READ, NOW) == frozenset()


@pytest.mark.parametrize(
    "wide",
    [
        grants(Role.TOKEN_HOLDER),
        (Grant(Role.WITNESS, EVERYWHERE, text_of(NOW)),),
    ],
    ids=["a role that reads nothing", "a role that has ended"],
)
def test_a_grant_that_does_not_read_lists_nothing(wide):
    mixed = person(grants=(*grants(Role.AUDITOR, scope=SCOPE), *wide))
    assert readable(mixed, Action.KEY_READ, NOW) == {SCOPE}


def test_principals_are_named_as_the_log_names_them():
    assert (person().actor, person().id) == ("person:pat", "pat")
    assert (system().actor, system().id) == ("system:dcc-1", "dcc-1")
