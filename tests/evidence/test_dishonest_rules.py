"""A log in which too few people decided, or too soon, or one alone, and that signs it was so."""

from dataclasses import replace
from datetime import timedelta

import pytest

from keyvault.domain import commands as c
from keyvault.domain.people import Role, Vetting
from keyvault.domain.quorum import OWN_RULE
from keyvault.domain.rules import GroupBy
from tests.evidence.people import (
    AUTHORITY,
    DUTY,
    GLASS,
    KEYS,
    PROTECTION,
    RULES,
    TOP,
    screening,
)
from tests.evidence.world import World, order

EVENTS, CHAIN = "events.ndjson", "authority.ndjson"
MONTH = timedelta(days=30)
NEXT = replace(DUTY, version=2, sha256="5b" * 32)


@pytest.fixture
def world():
    return World()


def expect(caught, world, words):
    caught(world.bundle(), words, EVENTS, len(world.leaves) - 1)


def expect_record(caught, world, words):
    caught(world.bundle(), words, CHAIN, len(world.records) - 1)


def acknowledgement(name, duty=NEXT):
    return c.AcknowledgeDuty(name, duty.name, duty.version, duty.sha256)


# Rules --------------------------------------------------------------------------------------------


def careful(world, approvers, requester="fay", wait=timedelta(minutes=10)):
    request = world.request(order(key_class="careful"), requester=requester)
    world.act(request.command, approvers, request=request, wait=wait)


def test_two_approvers_with_cards_of_two_sites_are_enough_in_time(check, world):
    careful(world, ("bob", "carol"))
    assert check(world.bundle())[0] == 0


def test_two_approvers_of_one_group_are_not_enough(caught, world):
    careful(world, ("bob", "dan"))
    expect(caught, world, "approvals come from 1 of 2 site groups")


def test_a_software_key_is_not_enough_where_a_card_is_asked(caught, world):
    careful(world, ("alice", "carol"))
    expect(caught, world, "alice signed with less than the card that rule careful asks for")


def test_an_act_before_its_waiting_time_is_over_is_refused(caught, world):
    careful(world, ("bob", "carol"), wait=timedelta(minutes=5))
    expect(caught, world, "it began too soon: rule careful asks to wait until 2026-11-22T09:10")


def test_an_approver_who_was_not_screened_deeply_enough_does_not_count(caught):
    deep = replace(KEYS, id="deep", vetting=Vetting.ENHANCED, key_classes=("critical",))
    enhanced = {"screening": replace(screening(), vetting=Vetting.ENHANCED)}
    described = dict.fromkeys(("alice", "bob", "dan", "fay"), enhanced)
    world = World(rules=(KEYS, deep, AUTHORITY, PROTECTION), described=described)
    request = world.request(order(key_class="critical"), rule=deep)
    world.act(request.command, request=request)
    expect(caught, world, "carol is not screened to the level enhanced")


def test_the_glass_is_broken_by_more_people(caught, check, world):
    request = world.request(order(), rule=GLASS)
    world.act(order(), ("bob", "carol", "dan"), request=request)
    assert check(world.bundle())[0] == 0
    again = world.request(order(), rule=GLASS)
    world.act(order(), ("bob", "carol"), request=again)
    expect(caught, world, "2 of 3 approvals are there")


def test_a_glass_that_is_cheaper_than_the_rule_is_refused(caught):
    cheap = replace(GLASS, approvals=2)
    caught(
        World(rules=(*RULES[:3], cheap, *RULES[4:])).bundle(),
        "breaking the glass takes more people",
        CHAIN,
        0,
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"approvals": 1}, "asks for fewer than 2"),
        ({"approvals": 5}, "too few holders"),
        ({"expires_after": 32 * 86_400}, "expires too late or too soon"),
        ({"wait": 86_400}, "expires too late or too soon"),
        ({"groups": 2}, "groups that do not add up"),
        ({"groups": 2, "group_by": GroupBy.ORGANISATION}, "too few groups without one person"),
        ({"commands": ("fly",)}, "unknown commands"),
        ({"commands": ("acknowledge-duty",)}, "unknown commands"),
        ({"roles": (Role.WITNESS,)}, "ask people of other roles"),
        ({"vetting": Vetting.ENHANCED}, "too few holders"),
        ({"key_classes": ("critical",), "wait": 600}, "neither is stricter in everything"),
    ],
)
def test_a_rule_that_is_too_weak_or_cannot_be_met_is_refused_at_genesis(caught, change, words):
    weak = replace(KEYS, id="weak", **change)
    caught(World(rules=(*RULES, weak)).bundle(), words, CHAIN, 0)


def test_a_rule_is_not_changed_under_less_than_itself(caught, check, world):
    weaker = replace(TOP, approvals=2)
    joined = AUTHORITY.joined(TOP)
    command = c.SetRule(weaker, "too slow")
    world.change(command, request=world.request(command), approvers=("bob", "carol"))
    expect_record(caught, world, "another rule than the one in force")
    world = World()
    request = world.request(command, rule=joined)
    world.change(command, request=request, approvers=("bob", "carol", "dan"))
    assert check(world.bundle())[0] == 0


def test_use_of_a_guarded_key_is_allowed_by_enough_people(check, caught, world):
    key = world.generate()
    world.act(c.AllowUse(key, 10, 1, "the yearly ceremony"))
    assert check(world.bundle())[0] == 0
    world.act(c.AllowUse(key, 10, 1, "another"), ("bob",))
    expect(caught, world, "1 of 2 approvals are there")


# One person alone ---------------------------------------------------------------------------------


def test_one_person_protects_and_does_nothing_else(check, caught, world):
    world.change(c.HoldPerson("carol", 1, "alarm"), approvers=("alice",))
    assert check(world.bundle())[0] == 0
    request = world.request(c.SuspendPerson("dan", "alarm"), rule=PROTECTION)
    world.change(request.command, request=request, approvers=("bob",))
    expect_record(caught, world, "another rule than the one in force")


def test_a_protective_act_dressed_as_another_is_refused(caught, world):
    request = world.request(c.HoldPerson("dan", 1, "alarm"))
    document = {
        **request.document,
        "command": "suspend-person",
        "parameters": {"person": "dan", "reason": "alarm"},
    }
    world.change(request.command, request=request, document=document, approvers=("alice",))
    expect_record(caught, world, "another rule than the one in force")


def test_a_rule_of_one_for_what_gives_power_is_refused(caught):
    alone = replace(PROTECTION, commands=(*PROTECTION.commands, "reinstate-person"))
    caught(World(rules=(*RULES[:-1], alone)).bundle(), "asks for fewer than 2", CHAIN, 0)


def test_one_person_alone_keeps_nobody_away_for_good(caught, world):
    world.change(c.HoldPerson("carol", 72, "alarm"), approvers=("alice",))
    world.now += timedelta(hours=73)
    world.change(c.HoldPerson("carol", 72, "alarm"), approvers=("alice",))
    expect_record(caught, world, "was on hold until lately")


def test_an_acknowledgement_is_signed_by_nobody_else(caught, world):
    world.change(c.SetDuty(NEXT))
    world.change(acknowledgement("carol"), approvers=("carol",), requester="carol")
    world.change(acknowledgement("dan"), approvers=("bob",), requester="dan")
    expect_record(caught, world, "bob cannot say this for dan")


def test_nobody_asks_for_the_acknowledgement_of_another(caught, world):
    world.change(c.SetDuty(NEXT))
    world.change(acknowledgement("dan"), approvers=("dan",), requester="bob")
    expect_record(caught, world, "bob could not ask for acknowledge-duty")


def test_an_acknowledgement_is_of_the_text_that_stands(caught, world):
    world.change(c.SetDuty(NEXT))
    stale = acknowledgement("dan", replace(NEXT, sha256=DUTY.sha256))
    world.change(stale, approvers=("dan",), requester="dan")
    expect_record(caught, world, "stands at version 2 and another text")


def test_nothing_but_an_acknowledgement_is_ones_own_word(caught, world):
    own = replace(OWN_RULE, id="own")
    command = c.ReinstatePerson("dan", "I am fine")
    request = world.request(command, rule=own, requester="dan")
    world.change(command, request=request, approvers=("dan",))
    expect_record(caught, world, "another rule than the one in force")


def test_nobody_decides_on_themselves(caught, world):
    world.change(c.ReviewScreening("carol", screening()), approvers=("bob", "carol"))
    expect_record(caught, world, "carol cannot decide on themselves")
