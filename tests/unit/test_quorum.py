"""Dual control over every rule: how many, how independent, how sure, how soon; and alone."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.commands import (
    COMMANDS,
    PERSONAL_COMMANDS,
    PROTECTIVE_COMMANDS,
    AcknowledgeDuty,
    ChangePerson,
    EnrolCredential,
    HoldPerson,
    RemovePerson,
    ReviewScreening,
    RevokeCredential,
    SuspendPerson,
)
from keyvault.domain.errors import (
    ApprovalInvalidError,
    AuthorityError,
    QuorumError,
    RequestStateError,
    RuleError,
)
from keyvault.domain.linting import lint_rule
from keyvault.domain.people import Assurance, Role, Vetting
from keyvault.domain.quorum import OWN_RULE, able, clear, shortfall
from keyvault.domain.rules import GroupBy
from keyvault.signatures import verify
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
    after,
    founded,
    grants,
    officer,
    request_for,
    screening,
)
from tests.unit.quorate import (
    CARDS,
    DAY,
    DESTROY,
    ERIN,
    SECOND,
    asked_under,
    cleared,
    like,
    refused,
)

# How many ----------------------------------------------------------------------------------


@given(st.integers(2, 4), st.integers(0, 4), st.sampled_from([Role.KEY_APPROVER, Role.REGISTRAR]))
def test_m_of_n_is_m_distinct_people_and_no_fewer(needed, signing, role):
    everybody = (*OFFICERS, ERIN)
    asked = asked_under(replace(RULE, roles=(role,), approvals=needed))
    approvers = everybody[1 : 1 + signing]
    if signing >= needed:
        assert len(cleared(asked, approvers, everybody)) == signing
    else:
        refused(f"{signing} of {needed} approvals", asked, approvers, people=everybody)


def test_one_person_with_two_keys_counts_once():
    card = CARDS[0].joining.credential
    authority = after(founded(), EnrolCredential("bob", card), (CAROL, DAVE))
    asked = asked_under(RULE)
    both = [
        BOB.decides(asked.document),
        replace(CARDS[0], joining=replace(BOB.joining, credential=card)).decides(asked.document),
    ]
    assert {one.credential for one in both} == {BOB.thumbprint, card.thumbprint}
    with pytest.raises(QuorumError, match="1 of 2"):
        clear(authority.electorate, RULE, asked, both, verify, NOW)


def test_a_key_that_only_logs_in_decides_nothing():
    login = replace(CARDS[0].joining.credential, login_only=True)
    authority = after(founded(), EnrolCredential("bob", login), (CAROL, DAVE))
    for asked in (asked_under(RULE), asked_under(RULE, RemovePerson("dave", "left"), scope=None)):
        votes = [CARDS[0].decides(asked.document, approver="bob"), CAROL.decides(asked.document)]
        with pytest.raises(ApprovalInvalidError, match="Bob signed with a key that only logs in"):
            clear(authority.electorate, RULE, asked, votes, verify, NOW)
    word = AcknowledgeDuty("bob", DUTY.name, DUTY.version, DUTY.sha256)
    own = request_for(word, "bob", rule=OWN_RULE, scope=None)
    vote = CARDS[0].decides(own.document, approver="bob")
    with pytest.raises(ApprovalInvalidError, match="only logs in"):
        clear(authority.electorate, OWN_RULE, own, [vote], verify, NOW)


def test_a_person_without_a_key_that_decides_is_nobody_who_could_sign():
    login = replace(CARDS[0].joining.credential, login_only=True)
    person = replace(BOB.person, credentials=(login,))
    assert not able(person, RULE)
    both = replace(BOB.person, credentials=(BOB.joining.credential, login))
    assert able(both, RULE)
    assert not able(both, replace(RULE, assurance=Assurance.CARD))


def test_one_person_with_two_roles_counts_once():
    rule = replace(RULE, roles=(Role.KEY_APPROVER, Role.REGISTRAR))
    refused("1 of 2 approvals", asked_under(rule), (BOB, BOB))
    only_by_roles = tuple(
        like(officer(name), grants=grants(role))
        for name, role in (("bob", Role.KEY_APPROVER), ("carol", Role.REGISTRAR))
    )
    assert cleared(asked_under(rule), only_by_roles, (ALICE, *only_by_roles)) == ("bob", "carol")


def test_who_asks_is_never_one_of_those_who_agree():
    error = refused("asked for this", asked_under(RULE), (ALICE, BOB, CAROL))
    assert error.next_step == "two other people have to decide"


@pytest.mark.parametrize(
    "command",
    [
        RemovePerson("bob", "left"),
        SuspendPerson("bob", "suspected"),
        ReviewScreening("bob", screening()),
        EnrolCredential("bob", CARDS[0].joining.credential),
        RevokeCredential("bob", BOB.thumbprint, "lost"),
        ChangePerson("bob", "o", "s", None, grants(Role.AUDITOR), "moved"),
    ],
    ids=lambda command: command.name,
)
def test_nobody_decides_on_themselves(command):
    asked = asked_under(RULE, command, scope=None)
    refused("Bob cannot decide on themselves", asked, (BOB, CAROL, DAVE))
    assert cleared(asked, (CAROL, DAVE)) == ("carol", "dave")


def test_what_is_missing_is_told_in_words():
    rule = replace(RULE, approvals=3, group_by=GroupBy.SITE, groups=2)
    asked = asked_under(rule)
    assert shortfall(asked, [BOB.person]) == (
        "1 of 3 approvals are there",
        "wait for 2 more from people who hold key-approver",
    )
    assert shortfall(asked, [who.person for who in (BOB, CAROL, DAVE)]) == (
        "they come from 1 of 2 site groups",
        "wait for people of 1 more site group(s)",
    )
    york = like(DAVE, site="york").person
    assert shortfall(asked, [BOB.person, CAROL.person, york]) is None


# How independent ---------------------------------------------------------------------------

APART = {
    GroupBy.ORGANISATION: {"organisation": "Example Water"},
    GroupBy.SITE: {"site": "york"},
    GroupBy.MANAGER: {"manager": "zoe"},
}


@pytest.mark.parametrize("by", GroupBy)
def test_approvers_come_from_as_many_groups_as_the_rule_asks(by):
    asked = asked_under(replace(RULE, group_by=by, groups=2))
    same = {"organisation": "Example Energy", "site": "leeds", "manager": "yves"}
    people = [like(who, **same) for who in OFFICERS]
    refused(f"1 of 2 {by} groups", asked, people[1:3], people=people)
    others = [*people[:3], like(people[3], **APART[by])]
    assert cleared(asked, (people[1], others[3]), others) == ("bob", "dave")
    for unlike in set(GroupBy) - {by}:
        elsewhere = [*people[:3], like(people[3], **APART[unlike])]
        refused("groups", asked, (people[1], elsewhere[3]), people=elsewhere)


def test_two_reports_of_one_manager_count_once_and_so_does_the_manager():
    asked = asked_under(replace(RULE, group_by=GroupBy.MANAGER, groups=2))
    bob, carol = (like(who, manager="dave") for who in (BOB, CAROL))
    people = (ALICE, bob, carol, DAVE)
    refused("1 of 2 manager groups", asked, (bob, carol), people=people)
    refused("1 of 2 manager groups", asked, (bob, DAVE), people=people)
    apart = like(carol, manager="erin")
    assert cleared(asked, (bob, apart), (ALICE, bob, apart, DAVE))


def test_who_reports_to_nobody_is_a_group_of_their_own():
    asked = asked_under(replace(RULE, group_by=GroupBy.MANAGER, groups=2))
    assert cleared(asked, (BOB, CAROL)) == ("bob", "carol")


# How sure ----------------------------------------------------------------------------------


def test_a_rule_for_cards_takes_no_key_from_a_file():
    asked = asked_under(replace(RULE, assurance=Assurance.CARD))
    people = (ALICE, BOB, *CARDS)
    refused("asks Bob to sign with a card", asked, (BOB, CARDS[0]), people=people)
    assert cleared(asked, CARDS[:2], people) == ("ann-c", "ben-c")
    assert cleared(asked_under(RULE), (BOB, CARDS[0]), people)


def test_a_rule_for_the_better_screened_takes_nobody_else():
    asked = asked_under(replace(RULE, vetting=Vetting.ENHANCED))
    deep = [like(who, screening=screening(vetting=Vetting.ENHANCED)) for who in OFFICERS]
    refused("Bob is not screened to the level enhanced", asked, (BOB, CAROL))
    assert cleared(asked, deep[1:3], deep) == ("bob", "carol")
    assert cleared(asked_under(RULE), deep[1:3], deep)


# How soon, how long ------------------------------------------------------------------------


def test_what_has_to_wait_is_carried_out_at_its_second_and_not_before():
    asked = asked_under(replace(RULE, wait=3_600))
    due = NOW + timedelta(hours=1)
    assert asked.due_at == due
    late, two = asked.expires_at + SECOND, (BOB, CAROL)
    for early in (NOW, due - SECOND):
        error = refused("from 2026-03-01T13:00:00Z on", asked, two, RequestStateError, at=early)
        assert "object" in error.next_step
    assert cleared(asked, two, at=due)
    assert cleared(asked, two, at=asked.expires_at)
    refused("expired", asked, two, RequestStateError, at=late)


def test_a_request_from_the_future_is_none():
    asked = asked_under(RULE, now=NOW + timedelta(seconds=61))
    refused("from the future", asked, (BOB, CAROL), RequestStateError)


def test_approvers_stay_in_good_standing_until_it_is_carried_out():
    day = replace(RULE, expires_after=3 * 86_400)
    asked = asked_under(day)
    ends = like(BOB, screening=screening(due="2026-03-02"))
    people, midnight = (ALICE, ends, CAROL), NOW.replace(hour=0) + 2 * DAY
    assert cleared(asked, (ends, CAROL), people, at=midnight - SECOND)
    refused("was due for review", asked, (ends, CAROL), people=people, at=midnight)


def test_who_signed_before_their_duty_was_acknowledged_did_not_sign():
    due = replace(DUTY, version=2, roles=(Role.KEY_APPROVER,))  # who owns keys still asks
    refused("has not acknowledged", asked_under(RULE), (BOB, CAROL), duties=(due,))


def test_who_asked_without_the_right_to_ask_asked_nothing():
    custodian = like(ALICE, grants=grants(Role.KEY_CUSTODIAN))
    people = (custodian, BOB, CAROL)
    refused("Alice could not ask", asked_under(RULE), (BOB, CAROL), AuthorityError, people=people)
    assert cleared(asked_under(RULE, DESTROY), (BOB, CAROL), people)
    lapsed = like(ALICE, screening=screening(reviewed_on="2025-02-01", due="2026-02-01"))
    refused("could not ask", asked_under(RULE), (BOB, CAROL), AuthorityError, people=(lapsed, BOB))


# What one person may do --------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_only_what_protects_is_ever_decided_by_one(name):
    rule = replace(RULE, id="alone", commands=(name,), approvals=1)
    if name in {c.name for c in PROTECTIVE_COMMANDS}:
        lint_rule(founded(), rule)
    else:
        with pytest.raises(RuleError):
            lint_rule(founded(), rule)


def test_one_person_alone_stops_another_or_themselves():
    for person in ("dave", "alice"):
        hold = HoldPerson(person, 2, "lost card")
        asked = asked_under(PROTECTION, hold, scope=None)
        assert cleared(asked, (ALICE,)) == ("alice",)


def test_alone_is_not_without_a_signature_nor_with_a_strangers():
    asked = asked_under(PROTECTION, HoldPerson("dave", 2, "lost card"), scope=None)
    refused("0 of 1", asked, ())
    refused("no person known", asked, (officer("mallory"),))
    auditor = like(ALICE, grants=grants(Role.AUDITOR))
    refused("could not ask", asked, (auditor,), AuthorityError, people=(auditor, BOB))


def acknowledging(person="bob", requester="bob", **more):
    word = AcknowledgeDuty(person, DUTY.name, DUTY.version, DUTY.sha256)
    return asked_under(OWN_RULE, word, scope=None, requester=requester, **more)


def test_a_duty_is_acknowledged_by_the_person_and_nobody_else():
    assert cleared(acknowledging(), (BOB,)) == ("bob",)
    refused("cannot say this", acknowledging(), (CAROL,))
    refused("cannot say this", acknowledging(), (BOB, CAROL))
    refused("0 of 1", acknowledging(), ())
    for asked in (acknowledging(requester="carol"), acknowledging("carol", "bob")):
        refused("could not ask", asked, (BOB, CAROL), AuthorityError)


def test_a_duty_is_acknowledged_whatever_has_lapsed_but_not_on_hold():
    lapsed = like(
        BOB,
        grants=grants(Role.TOKEN_HOLDER),
        screening=screening(reviewed_on="2025-02-01", due="2026-02-01"),
    )
    assert cleared(acknowledging(), (lapsed,), (ALICE, lapsed)) == ("bob",)
    authority = after(founded(), HoldPerson("bob", 1, "lost"), (CAROL, DAVE))
    own = acknowledging(now=NOW)
    with pytest.raises(ApprovalInvalidError, match="or not now"):
        clear(authority.electorate, OWN_RULE, own, [BOB.decides(own.document)], verify, NOW)


def test_no_record_changes_how_people_speak_for_themselves():
    wide = replace(RULE, commands=("*",), approvals=3)
    authority = founded(rules=(wide,))
    for command in PERSONAL_COMMANDS:
        assert authority.rule_for(command.name) == OWN_RULE
        with pytest.raises(RuleError, match="commands that there are not"):
            lint_rule(authority, replace(RULE, commands=(command.name,)))
