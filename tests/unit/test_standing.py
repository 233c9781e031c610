"""Standing: what makes rights dormant, at which second, and that nothing else does."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.chain import load
from keyvault.domain.commands import (
    AcknowledgeDuty,
    ChangePerson,
    HoldPerson,
    ReinstatePerson,
    SuspendPerson,
)
from keyvault.domain.errors import ApprovalInvalidError, AuthorityError, RuleError
from keyvault.domain.people import EVERYWHERE, Grant, Hold, Role
from keyvault.domain.quorum import check_approval
from keyvault.domain.scopes import Scope
from keyvault.domain.standing import CONFLICTS, Electorate, Reach, conflicts, lapses, reaches
from keyvault.domain.times import day_of, text_of, time_of
from keyvault.signatures import spki_of_certificate, verify
from tests.unit.officers import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    DUTY,
    NOW,
    OFFICERS,
    PROTECTION,
    RULE,
    SCOPE,
    THE_REST,
    after,
    electorate,
    founded,
    genesis,
    grants,
    next_record,
    officer,
    people_of,
    request_for,
    screening,
)

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
ELSEWHERE = Scope("1f-example", "network-operator", "u1")
APPROVER = Role.KEY_APPROVER
PAT = officer("pat", APPROVER).person


def codes(person, at, role=APPROVER, where=Reach.ALL, duties=()):
    return [lapse.code for lapse in lapses(person, duties, role, where, at)]


# Each lapse, at its second -----------------------------------------------------------------

DUE = screening(due="2026-06-30")
LAST = time_of("2026-06-30T23:59:59Z")
LAPSES = {
    "screening-due": (replace(PAT, screening=DUE), (), LAST),
    "role-expired": (
        replace(PAT, grants=(Grant(APPROVER, EVERYWHERE, "2026-07-01T00:00:00Z"),)),
        (),
        LAST,
    ),
    "duty-unacknowledged": (
        replace(PAT, acknowledged=()),
        (replace(DUTY, since="2026-07-01"),),
        LAST,
    ),
}


@pytest.mark.parametrize("code", LAPSES)
def test_rights_are_dormant_from_their_second_on_and_not_before(code):
    person, duties, last = LAPSES[code]
    assert codes(person, last, duties=duties) == []
    assert codes(person, last + SECOND, duties=duties) == [code]
    [lapse] = lapses(person, duties, APPROVER, Reach.ALL, last + 1000 * HOUR)
    assert (lapse.code, lapse.since) == (code, last + SECOND)
    assert person.name in lapse.text


@given(st.sampled_from(sorted(LAPSES)), st.integers(-(10**7), 10**7))
def test_the_same_question_about_any_second_has_one_answer(code, seconds):
    person, duties, last = LAPSES[code]
    at = last + seconds * SECOND
    asked = [codes(person, at, duties=duties) for _ in range(2)]
    later = codes(person, at + 1000 * HOUR, duties=duties)
    assert asked[0] == asked[1] == ([code] if seconds > 0 else [])
    assert codes(person, at, duties=duties) == asked[0], later


def test_everything_that_lapsed_is_told():
    person = replace(
        PAT,
        screening=DUE,
        acknowledged=(),
        hold=Hold("lost card", NOW),
        grants=(Grant(APPROVER, EVERYWHERE, "2026-07-01T00:00:00Z"),),
    )
    at = LAST + SECOND
    assert codes(person, at, duties=(DUTY,)) == [
        "role-expired",
        "on-hold",
        "screening-due",
        "duty-unacknowledged",
    ]


def test_of_two_grants_of_one_role_the_longer_counts():
    ends = ("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z")
    person = replace(PAT, grants=tuple(Grant(APPROVER, EVERYWHERE, end) for end in ends))
    assert codes(person, time_of(ends[0])) == []
    assert codes(person, time_of(ends[1])) == ["role-expired"]


def test_a_duty_binds_the_roles_that_it_is_for_and_in_its_newest_version():
    other = replace(DUTY, roles=(Role.AUDITOR,))
    stranger = replace(PAT, acknowledged=())
    assert codes(stranger, NOW, duties=(other,)) == []
    assert codes(PAT, NOW, duties=(DUTY,)) == []
    assert codes(PAT, NOW, duties=(replace(DUTY, version=2),)) == ["duty-unacknowledged"]
    newer = PAT.acknowledges(DUTY.name, 3)
    assert codes(newer, NOW, duties=(replace(DUTY, version=2),)) == []


@pytest.mark.parametrize("role", Role)
def test_who_does_not_hold_a_role_is_told_so_and_nothing_else(role):
    nobody = replace(PAT, grants=(), screening=DUE)
    assert codes(nobody, LAST + SECOND, role) == ["not-granted"]
    assert lapses(nobody, (), role, Reach.ALL, NOW)[0].since is None


# On hold -----------------------------------------------------------------------------------


def held(hours=72, at=NOW):
    return after(founded(), HoldPerson("dave", hours, "lost card"), at=at)


def test_a_hold_by_a_single_person_ends_by_itself_to_the_second():
    """Under a rule that lets one decide; and no record is written when it ends."""
    authority = founded(rules=(PROTECTION, THE_REST))
    authority = after(authority, HoldPerson("dave", 72, "lost card"), (ALICE,))
    dave = authority.person("dave")
    end = NOW + 72 * HOUR
    for at in (NOW, NOW + HOUR, end - SECOND):
        assert codes(dave, at) == ["on-hold"]
    assert codes(dave, end) == []


def test_one_person_alone_does_not_keep_another_away_hold_after_hold():
    authority = held()
    for hours in (0, 1, 72, 143):
        with pytest.raises(AuthorityError, match="was on hold until lately") as refusal:
            after(authority, HoldPerson("dave", 1, "again"), at=NOW + hours * HOUR)
        assert "two decide on a suspension" in refusal.value.next_step
    assert after(authority, HoldPerson("dave", 1, "again"), at=NOW + 144 * HOUR)


def test_who_was_reinstated_can_be_held_anew_at_once():
    authority = after(held(), ReinstatePerson("dave", "it was found"), (BOB, CAROL))
    assert codes(authority.person("dave"), NOW) == []
    authority = after(authority, HoldPerson("dave", 1, "lost again"))
    assert codes(authority.person("dave"), NOW) == ["on-hold"]


def test_a_suspension_lasts_until_two_reinstate():
    authority = after(held(), SuspendPerson("dave", "it was stolen"), (BOB, CAROL))
    assert codes(authority.person("dave"), NOW + 10_000 * HOUR)[0] == "on-hold"
    with pytest.raises(AuthorityError, match="is suspended"):
        after(authority, HoldPerson("dave", 1, "to end it sooner"))
    back = after(authority, ReinstatePerson("dave", "cleared"), at=NOW + HOUR)
    assert codes(back.person("dave"), NOW + HOUR) == []


def test_nothing_signed_on_hold_or_before_it_counts_while_it_lasts():
    asked = request_for(rule=replace(RULE, expires_after=10 * 86_400))
    authority = held(hours=1)
    signed = DAVE.decides(asked.document)
    for at in (NOW, NOW + HOUR - SECOND):
        with pytest.raises(ApprovalInvalidError, match="Dave is on hold: lost card"):
            check_approval(authority.electorate, asked, signed, verify, at)
    anew = DAVE.decides(asked.document, at=text_of(NOW + HOUR))
    assert check_approval(authority.electorate, asked, anew, verify, NOW + HOUR).id == "dave"


def test_what_was_signed_before_a_hold_does_not_count_after_it_either():
    asked = request_for(rule=replace(RULE, expires_after=10 * 86_400))
    signed = DAVE.decides(asked.document)
    with pytest.raises(ApprovalInvalidError, match="on hold"):
        check_approval(held(hours=1).electorate, asked, signed, verify, NOW + 2 * HOUR)


# Where a grant reaches ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "reached"),
    [
        (EVERYWHERE, [SCOPE, ELSEWHERE, Reach.ALL, Reach.ANY]),
        (SCOPE, [SCOPE, Reach.ANY]),
        (ELSEWHERE, [ELSEWHERE, Reach.ANY]),
    ],
    ids=["everywhere", "here", "there"],
)
def test_a_grant_reaches_its_scope_and_no_other(scope, reached):
    [grant] = grants(APPROVER, scope=scope)
    places = (SCOPE, ELSEWHERE, Reach.ALL, Reach.ANY)
    assert [where for where in places if reaches(grant, where)] == reached


@pytest.mark.parametrize(
    ("asked_for", "counts"), [(SCOPE, True), (ELSEWHERE, False), (None, False)], ids=str
)
def test_an_approver_for_one_scope_decides_nothing_in_another_nor_for_all(asked_for, counts):
    bob = BOB.like(grants=grants(APPROVER, scope=SCOPE))
    people = electorate((ALICE, bob, CAROL))
    asked = request_for(scope=asked_for)
    approval = bob.decides(asked.document)
    if counts:
        check_approval(people, asked, approval, verify, NOW)
    else:
        with pytest.raises(ApprovalInvalidError, match="does not hold the role"):
            check_approval(people, asked, approval, verify, NOW)


def test_those_who_decide_for_one_scope_do_not_change_authority_by_naming_it():
    scoped = [officer(n).like(grants=grants(APPROVER, scope=SCOPE)) for n in ("sam", "tim")]
    authority = founded((*OFFICERS, *scoped))
    with pytest.raises(AuthorityError, match="concerns every scope"):
        after(authority, officer("erin").joining, scoped, scope=SCOPE)
    with pytest.raises(ApprovalInvalidError, match="does not hold the role"):
        after(authority, officer("erin").joining, scoped)


# Separation of duties ----------------------------------------------------------------------

PAIRS = [
    (one, other) for at, one in enumerate(Role) for other in [*Role][at + 1 :]
]  # every two roles


def test_the_rules_of_separation_are_those_of_the_design():
    apart = {
        (Role.KEY_OWNER, Role.KEY_CUSTODIAN),
        (Role.HSM_SECURITY_OFFICER, Role.KEY_CUSTODIAN),
        (Role.HSM_SECURITY_OFFICER, Role.KEY_APPROVER),
        (Role.REGISTRAR, Role.TOKEN_ISSUER),
        (Role.REGISTRAR, Role.SENIOR_RESPONSIBLE_OFFICER),
        (Role.AUDITOR, Role.KEY_CUSTODIAN),
        (Role.AUDITOR, Role.SYSTEM_ADMINISTRATOR),
        (Role.SYSTEM_ADMINISTRATOR, Role.KEY_OWNER),
    }
    assert {frozenset(pair) for pair in apart} <= CONFLICTS
    assert frozenset({Role.AUDITOR, Role.WITNESS}) not in CONFLICTS
    assert all(len(pair) == 2 for pair in CONFLICTS)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_roles_that_are_kept_apart_are_not_granted_together(one, other):
    both = officer("erin").like(grants=grants(one, other)).joining
    if {one, other} in CONFLICTS:
        with pytest.raises(RuleError, match=r"Erin cannot be .* for the same scope"):
            after(founded(), both)
    else:
        assert after(founded(), both).person("erin").roles == {one, other}


@pytest.mark.parametrize("pair", sorted(map(sorted, CONFLICTS)), ids=str)
def test_roles_that_are_kept_apart_count_for_nothing_where_somebody_has_both(pair):
    person = replace(PAT, grants=grants(*pair))
    for role in pair:
        assert codes(person, NOW, role) == ["conflict"]
    apart = (*grants(pair[0], scope=SCOPE), *grants(pair[1], scope=ELSEWHERE))
    for role, where in zip(pair, (SCOPE, ELSEWHERE), strict=True):
        assert codes(replace(PAT, grants=apart), NOW, role, where) == []


@pytest.mark.parametrize("scopes", [(SCOPE, SCOPE), (SCOPE, EVERYWHERE), (EVERYWHERE, SCOPE)])
def test_duties_are_separate_wherever_two_grants_overlap(scopes):
    pair = (Role.KEY_OWNER, Role.KEY_CUSTODIAN)
    given = [grants(role, scope=scope)[0] for role, scope in zip(pair, scopes, strict=True)]
    assert conflicts(given) == [tuple(given)]
    person = replace(PAT, grants=tuple(given))
    assert codes(person, NOW, Role.KEY_OWNER, SCOPE) == ["conflict"]


def test_a_conflict_ends_when_one_of_the_two_roles_does():
    ends = Grant(Role.KEY_CUSTODIAN, EVERYWHERE, text_of(NOW + HOUR))
    person = replace(PAT, grants=(*grants(Role.KEY_OWNER), ends))
    assert codes(person, NOW + HOUR - SECOND, Role.KEY_OWNER) == ["conflict"]
    assert codes(person, NOW + HOUR, Role.KEY_OWNER) == []
    assert codes(person, NOW + HOUR, Role.KEY_CUSTODIAN) == ["role-expired"]


def test_a_third_role_counts_beside_two_in_conflict():
    person = replace(PAT, grants=grants(Role.KEY_OWNER, Role.KEY_CUSTODIAN, Role.WITNESS))
    assert codes(person, NOW, Role.WITNESS) == []


def test_a_mover_does_not_come_into_a_conflict():
    move = ChangePerson(
        "dave", "Example Energy", "leeds", None, grants(APPROVER, Role.AUDITOR), "promoted"
    )
    with pytest.raises(RuleError, match="Dave cannot be key-approver and auditor"):
        after(founded(), move)


# The past ----------------------------------------------------------------------------------


def test_what_authority_was_at_a_past_record_is_told_by_its_records_alone():
    """A hold, a leave and a move later, the answer about then is the same."""
    records, moved = [genesis()], ("dave", "Example Energy", "york", None)
    for command in (
        HoldPerson("dave", 72, "lost card"),
        ReinstatePerson("dave", "it was found"),
        ChangePerson(*moved, grants(Role.WITNESS), "moved"),
    ):
        authority = load(records, verify, spki_of_certificate)
        records.append(next_record(authority, command))
    told = [
        codes(load(records[:size], verify, spki_of_certificate).person("dave"), NOW)
        for size in range(1, len(records) + 1)
    ]
    assert told == [[], ["on-hold"], [], ["not-granted"]]


@given(st.integers(-400, 400), st.sampled_from([*Role]))
def test_an_electorate_asks_the_same_of_everybody(days, role):
    at = day_of("2026-06-30") + timedelta(days=days)
    everybody = Electorate(people_of(OFFICERS), (DUTY,))
    for person in everybody.people.values():
        found = everybody.lapses(person, role, Reach.ALL, at)
        assert found == lapses(person, (DUTY,), role, Reach.ALL, at)
        assert everybody.role_of(person, (role,), Reach.ALL, at) == (None if found else role)


def test_a_newcomer_may_nothing_until_they_acknowledged_their_duties():
    authority = after(founded(), officer("erin").joining)
    asked = [authority.person("erin"), NOW, APPROVER, Reach.ALL, authority.duties]
    assert codes(*asked) == ["duty-unacknowledged"]
    word = AcknowledgeDuty("erin", DUTY.name, DUTY.version, DUTY.sha256)
    authority = after(authority, word, (officer("erin"),), requester="erin")
    assert codes(authority.person("erin"), *asked[1:]) == []
