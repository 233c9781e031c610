"""How much room a rule has: counted against every way in which people can fall away."""

from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.commands import ChangePerson, GenerateKey, HoldPerson
from keyvault.domain.leaving import hurt, orphaned, reports
from keyvault.domain.people import Assurance, Duty, Hold, Person, Role
from keyvault.domain.quorums import Level, health, needed, spare
from keyvault.domain.rules import GroupBy, Rule
from keyvault.domain.times import day_of, day_text
from tests.unit.officers import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    DUTY,
    NOW,
    RULE,
    SCOPE,
    founded,
    grants,
    officer,
)

DAY = timedelta(days=1)
BASE = founded()


def authority(*people: Person, rule: Rule = RULE):
    """The founded authority, with these people instead of its own."""
    return replace(BASE, people={one.id: one for one in people}, rules=(rule,))


def person(name: str, **changes) -> Person:
    return replace(officer(name).person, **changes)


def one_of(*people: Person, rule: Rule = RULE, at=NOW):
    [found] = health(authority(*people, rule=rule), at)
    return found


def room(quorum) -> list[int]:
    return [outlook.margin for outlook in quorum.outlooks]


# Counting ----------------------------------------------------------------------------------


@st.composite
def crowds(draw):
    """A rule and up to six people who can sign under it, from up to three organisations."""
    approvals = draw(st.integers(2, 3))
    groups = draw(st.integers(1, approvals))
    places = draw(st.lists(st.sampled_from("xyz"), max_size=6))
    people = [person(f"p{at}", organisation=place) for at, place in enumerate(places)]
    by = GroupBy.ORGANISATION if groups > 1 else None
    return replace(RULE, approvals=approvals, groups=groups, group_by=by), people


def met(rule, people):
    groups = {rule.group_of(one) for one in people}
    return len(people) >= rule.approvals and len(groups) >= rule.groups


@given(crowds())
def test_spare_is_exactly_how_many_may_fall_away_whoever_they_are(crowd):
    rule, people = crowd

    def stands(gone: int) -> bool:
        return all(
            met(rule, [one for one in people if one not in lost])
            for lost in combinations(people, gone)
        )

    room = spare(rule, people)
    if room < 0:
        assert not stands(0)
    else:
        assert stands(room)
        assert not stands(room + 1)


@given(crowds())
def test_the_margin_holds_for_whoever_asks(crowd):
    rule, people = crowd
    quorum = one_of(*people, rule=rule)
    least = min((spare(rule, [o for o in people if o is not one]) for one in people), default=-1)
    assert room(quorum)[0] == least


def test_three_officers_and_two_signatures_leave_no_room():
    quorum = one_of(ALICE.person, BOB.person, CAROL.person)
    assert (quorum.needed, quorum.level, room(quorum)) == (2, Level.NO_SPARE, [0, 0, 0])
    assert quorum.outlooks[0].able == ("alice", "bob", "carol")
    assert quorum.text == (
        "rule everything: 3 can sign and 2 must: nobody more may fall away, nor be decided about"
    )


def test_a_fourth_officer_makes_it_good():
    quorum = one_of(*(one.person for one in (ALICE, BOB, CAROL, DAVE)))
    assert (quorum.level, room(quorum)) == (Level.GOOD, [1, 1, 1])


def test_whoever_asks_and_never_signs_takes_nobody_s_place():
    owner = person("owner", grants=grants(Role.KEY_OWNER))
    signing = [person(name, grants=grants(Role.KEY_APPROVER)) for name in ("a", "b", "c")]
    rule = replace(RULE, commands=(GenerateKey.name,))
    assert room(one_of(owner, *signing, rule=rule)) == [1, 1, 1]


def test_where_nobody_may_ask_the_rule_is_broken():
    signing = [person(name, grants=grants(Role.KEY_APPROVER)) for name in ("a", "b", "c")]
    rule = replace(RULE, commands=(ChangePerson.name,))
    assert one_of(*signing, rule=rule).level is Level.BROKEN


def test_what_one_person_may_do_alone_needs_one_who_may_be_the_one_who_asks():
    rule = replace(RULE, commands=(HoldPerson.name,), approvals=1)
    assert needed(rule) == 1
    assert room(one_of(ALICE.person, rule=rule)) == [0, 0, 0]


@pytest.mark.parametrize(
    "change",
    [
        {"hold": Hold("leave", NOW)},
        {"grants": grants(Role.KEY_OWNER)},
        {"grants": grants(Role.KEY_APPROVER, scope=SCOPE)},
        {"credentials": ()},
    ],
    ids=["on hold", "another role", "one scope alone", "no key"],
)
def test_who_could_not_sign_is_not_counted(change):
    three = (ALICE.person, BOB.person, CAROL.person)
    assert one_of(*three, replace(DAVE.person, **change)).outlooks[0].able == (
        "alice",
        "bob",
        "carol",
    )


def test_a_rule_for_cards_counts_those_who_have_one():
    rule = replace(RULE, assurance=Assurance.CARD)
    carded = [officer(f"c{at}", assurance=Assurance.CARD).person for at in range(4)]
    quorum = one_of(*carded, ALICE.person, rule=rule)
    assert quorum.outlooks[0].able == ("c0", "c1", "c2", "c3")


# The clock ---------------------------------------------------------------------------------


def ending(name: str, days: int) -> Person:
    """Somebody whose screening is due so many days after NOW."""
    due = day_text(NOW + days * DAY)
    return replace(person(name), screening=replace(officer(name).person.screening, due=due))


def test_a_lapse_that_is_known_beforehand_is_told_beforehand():
    quorum = one_of(ALICE.person, BOB.person, CAROL.person, ending("erin", 20), ending("finn", 60))
    assert room(quorum) == [2, 1, 0]
    assert [(loss.person, loss.lapse.code) for loss in quorum.losses] == [
        ("erin", "screening-due"),
        ("finn", "screening-due"),
    ]
    assert quorum.level is Level.NO_SPARE


def test_a_rule_that_the_clock_will_break_says_who_and_when():
    quorum = one_of(ALICE.person, BOB.person, ending("erin", 20), ending("finn", 60))
    assert (room(quorum), quorum.level) == ([1, 0, -1], Level.AT_RISK)
    assert "it breaks within 90 days: the screening of Erin" in quorum.text


@given(st.integers(0, 200))
def test_the_future_that_is_told_is_the_one_that_comes(days):
    people = (ALICE.person, BOB.person, ending("erin", 20), ending("finn", 60), ending("gus", 95))
    [told] = health(authority(*people), NOW, (timedelta(0), days * DAY))
    assert told.outlooks[1] == one_of(*people, at=NOW + days * DAY).outlooks[0]


def test_a_duty_that_nobody_has_acknowledged_yet_is_counted_from_its_day():
    four = [one.person for one in (ALICE, BOB, CAROL, DAVE)]
    coming = Duty("new-policy", 1, "6b" * 32, (Role.KEY_APPROVER,), day_text(NOW + 40 * DAY))
    with_it = replace(authority(*four), duties=(DUTY, coming))
    [quorum] = health(with_it, NOW)
    assert room(quorum) == [1, 1, -2]
    assert {loss.lapse.code for loss in quorum.losses} == {"duty-unacknowledged"}
    assert {loss.lapse.since for loss in quorum.losses} == {day_of(coming.since)}


# Leaving -----------------------------------------------------------------------------------


def test_a_leaver_hurts_the_rules_that_they_sign_under_and_no_other():
    auditor = person("erin", grants=grants(Role.AUDITOR))
    four = authority(ALICE.person, BOB.person, CAROL.person, DAVE.person, auditor)
    assert hurt(four, "erin", NOW) == ()
    [one] = hurt(four, "dave", NOW)
    assert (room(one.before)[0], room(one.after)[0]) == (1, 0)


def test_who_alone_owns_the_keys_of_a_scope_is_told():
    owner = person("erin", grants=grants(Role.KEY_OWNER, scope=SCOPE))
    another = person("finn", grants=grants(Role.KEY_OWNER, scope=SCOPE))
    assert [str(one.scope) for one in orphaned(authority(owner), "erin", NOW)] == [str(SCOPE)]
    assert orphaned(authority(owner, another), "erin", NOW) == ()
    assert orphaned(authority(owner, ALICE.person), "erin", NOW) == ()  # who owns everywhere
    late = NOW + timedelta(days=5_000)
    assert orphaned(authority(owner, another), "erin", late) != ()


def test_who_reports_to_a_leaver_is_told():
    team = [person(name, manager="alice") for name in ("finn", "erin")]
    assert reports(authority(ALICE.person, *team), "alice") == ("erin", "finn")
