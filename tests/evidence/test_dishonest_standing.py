"""A log that lets people decide whose rights had lapsed, or too few, and signs that it was so."""

from dataclasses import replace
from datetime import timedelta

import pytest

from keyvault.domain import commands as c
from keyvault.domain.people import Assurance, Credential, Role, Vetting
from keyvault.domain.quorum import OWN_RULE
from keyvault.domain.rules import GroupBy
from keyvault.domain.scopes import Scope
from keyvault.domain.times import day_text, text_of
from tests.evidence.world import (
    APPROVER,
    AUTHORITY,
    DUTY,
    GLASS,
    KEYS,
    P256,
    PEOPLE,
    PROTECTION,
    RULES,
    SCOPE,
    START,
    TOP,
    World,
    grants,
    joiner,
    order,
    screening,
)

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


def due_soon(*names):
    """Officers whose screening is due after a month less a day."""
    reviewed = START - timedelta(days=340)
    return {name: {"screening": screening(reviewed, 366)} for name in names}


# Lapsed by the clock ------------------------------------------------------------------------------


def test_an_approver_whose_screening_was_due_does_not_count(caught):
    world = World(described=due_soon("carol"))
    world.generate()
    world.now += MONTH
    world.generate()
    expect(caught, world, "the screening of Carol was due for review on 2026-12-18")


def test_rights_lapse_when_the_day_is_over_and_not_before(check, caught):
    world = World(described=due_soon("carol"))
    world.now = START.replace(month=12, day=18, hour=23, minute=57)
    world.generate()
    assert check(world.bundle())[0] == 0
    world.now += timedelta(minutes=3)
    world.generate()
    expect(caught, world, "the screening of Carol was due")


def test_who_lapsed_between_their_signature_and_the_act_does_not_count(caught):
    world = World(described=due_soon("carol"))
    world.now = START.replace(month=12, day=18, hour=12)
    world.act(order(), wait=timedelta(hours=13))
    expect(caught, world, "the approval of carol does not count at 2026-12-19T01:01:01Z")


def test_an_act_within_the_minute_that_clocks_may_differ_is_named(check):
    world = World(described=due_soon("carol"))
    world.now = START.replace(month=12, day=18, hour=23, minute=58, second=40)
    world.act(order(), wait=timedelta(seconds=29))
    status, answer = check(world.bundle())
    assert status == 0
    assert ["limit", "1 acts count only by the minute that clocks may differ"] in answer[
        "transcript"
    ]


def test_an_approver_whose_role_expired_does_not_count(caught):
    short = grants(Role.KEY_APPROVER, until=START + MONTH)
    world = World(described={"carol": {"grants": short}})
    world.generate()
    world.now += MONTH
    world.generate()
    expect(caught, world, "the role key-approver of Carol ended 2026-12-22T09:00:00Z")


def test_an_approver_who_did_not_acknowledge_a_duty_does_not_count(caught, world):
    world.change(c.SetDuty(NEXT))
    world.change(acknowledgement("bob"), approvers=("bob",), requester="bob")
    world.act(order(), request=world.request(order(), requester="bob"), approvers=("carol", "dan"))
    expect(caught, world, "Carol has not acknowledged keeping-keys, version 2")


def acknowledgement(name, duty=NEXT):
    return c.AcknowledgeDuty(name, duty.name, duty.version, duty.sha256)


def test_an_approver_who_was_on_hold_does_not_count(caught, world):
    asked = world.request(order())
    early = [world.approval(name, asked.document) for name in ("bob", "carol")]
    world.change(c.HoldPerson("carol", 72, "lost her card"), approvers=("dan",))
    world.act(order(), request=asked, approvals=early)
    expect(caught, world, "Carol is on hold: lost her card")


def test_a_hold_ends_by_itself_and_a_suspension_does_not(check, caught, world):
    world.change(c.HoldPerson("carol", 72, "lost her card"), approvers=("dan",))
    world.now += timedelta(hours=73)
    world.generate()
    assert check(world.bundle())[0] == 0
    world.change(c.SuspendPerson("carol", "under investigation"), approvers=("bob", "dan"))
    world.now += MONTH
    world.generate()
    expect(caught, world, "Carol is on hold: under investigation")


def test_a_requester_whose_own_rights_had_lapsed_asks_for_nothing(caught):
    world = World(described=due_soon("alice"))
    world.now += MONTH
    world.generate()
    expect(caught, world, "alice could not ask for generate-key then: the screening of Alice was")


def test_a_requester_without_the_right_role_asks_for_nothing(caught):
    world = World(described={"alice": {"grants": grants(Role.KEY_CUSTODIAN, Role.REGISTRAR)}})
    world.generate()
    expect(caught, world, "the role key-owner is needed")


def with_scoped_approver(scope):
    """A world in which Erin approves for one scope alone."""
    world = World()
    world.change(joiner("erin", grants=grants(Role.KEY_APPROVER, scope=scope)))
    world.change(acknowledgement("erin", DUTY), approvers=("erin",), requester="erin")
    return world


def test_a_right_for_one_scope_is_none_for_another(check, caught):
    world = with_scoped_approver(SCOPE)
    world.generate(approvers=("bob", "erin"))
    assert check(world.bundle())[0] == 0
    world = with_scoped_approver(Scope("other", "supplier", "u-1"))
    world.generate(approvers=("bob", "erin"))
    expect(caught, world, "Erin does not hold the role key-approver")


def test_a_right_for_one_scope_changes_no_authority(caught):
    world = with_scoped_approver(SCOPE)
    world.change(c.RemovePerson("fay", "left"), approvers=("bob", "erin"))
    expect_record(caught, world, "Erin does not hold the role key-approver")


def test_a_change_of_persons_for_one_scope_is_refused(caught):
    world = with_scoped_approver(SCOPE)
    request = replace(world.request(c.RemovePerson("fay", "left")), scope=SCOPE)
    world.change(request.command, request=request, approvers=("bob", "erin"))
    expect_record(caught, world, "remove-person concerns every scope, and names one")


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


# Persons ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "roles",
    [
        (Role.KEY_OWNER, Role.KEY_CUSTODIAN),
        (Role.AUDITOR, Role.REGISTRAR),
        (Role.SYSTEM_ADMINISTRATOR, Role.WITNESS),
        (Role.HSM_SECURITY_OFFICER, Role.KEY_APPROVER),
    ],
)
def test_duties_that_are_kept_apart_are_not_granted_to_one_person(caught, world, roles):
    world.change(joiner("erin", *roles))
    expect_record(caught, world, "for the same scope")


def test_duties_that_are_kept_apart_are_not_granted_to_one_mover(caught, world):
    both = grants(*APPROVER) + grants(Role.AUDITOR, scope=SCOPE)
    world.change(c.ChangePerson("dan", "Example Energy", "york", None, both, "moved"))
    expect_record(caught, world, "Dan cannot be key-approver and auditor for the same scope")


def test_a_review_that_is_yet_to_come_is_refused(caught, world):
    later = screening(START + timedelta(days=2))
    world.change(c.ReviewScreening("dan", later))
    expect_record(caught, world, "had not taken place yet")


def test_a_lost_card_signs_nothing_any_more(caught, world):
    thumbprint = joiner("dan").credential.thumbprint
    world.change(c.EnrolCredential("dan", Credential(P256().spki, Assurance.CARD)))
    world.change(c.RevokeCredential("dan", thumbprint, "lost"))
    world.act(order(), ("bob", "dan"))
    expect(caught, world, "this is not an enrolled key of dan")


def test_the_next_card_signs(check, world):
    fresh = P256()
    world.change(c.EnrolCredential("dan", Credential(fresh.spki, Assurance.CARD)))
    request = world.request(order())
    votes = [world.approval("bob", request.document)]
    votes.append(world.approval("dan", request.document, key=fresh))
    world.act(order(), request=request, approvals=votes)
    assert check(world.bundle())[0] == 0


def test_a_key_in_a_second_encoding_is_nobodys(caught, world):
    point = PEOPLE["bob"].compressed
    world.change(joiner("erin", Role.AUDITOR, credential=Credential(point, Assurance.CARD)))
    expect_record(caught, world, "spki of a credential is not what it should be")


# The time of a record -----------------------------------------------------------------------------


def test_a_record_that_was_dated_back_to_when_somebody_could_still_sign_is_refused(caught):
    world = World(described=due_soon("carol"))
    request = world.request(joiner("erin", Role.AUDITOR))
    early = [world.approval(name, request.document) for name in ("bob", "carol")]
    world.now += MONTH
    back = request.requested_at + timedelta(minutes=5)
    world.change(request.command, request=request, approvals=early, at=back)
    expect(caught, world, "says it was carried out at 2026-11-22T09:05:01Z, and its event is of")


@pytest.mark.parametrize("shift", [-62, 65])
def test_a_record_whose_time_is_not_that_of_its_event_is_refused(caught, world, shift):
    world.now += timedelta(minutes=2)
    request = world.request(joiner("erin", Role.AUDITOR))
    votes = [world.approval(name, request.document) for name in ("bob", "carol")]
    world.now += timedelta(minutes=2)
    at = world.now + timedelta(seconds=shift)
    world.change(request.command, request=request, approvals=votes, at=at)
    expect(caught, world, "and its event is of")


def test_a_record_older_than_the_one_before_it_is_refused(caught, world):
    world.now += timedelta(hours=1)
    world.change(joiner("erin", Role.AUDITOR))
    world.now -= timedelta(minutes=5)
    world.change(c.RemovePerson("erin", "left"))
    expect_record(caught, world, "is older than the record before it")


def test_an_hour_with_a_sixty_first_second_is_no_time(caught, world):
    world.change(joiner("erin", Role.AUDITOR))
    world.records[-1] = replace(world.records[-1], at="2026-11-22T09:00:60Z")
    expect_record(caught, world, "2026-11-22T09:00:60Z is not a time")


# What the transcript says of people ---------------------------------------------------------------


def people_of(answer, event):
    return next(entry["people"] for entry in answer["standing"] if entry["event"] == event)


def test_the_transcript_says_what_everybodys_standing_was_then(check, world):
    world.generate()
    _, answer = check(world.bundle())
    actor, requester, bob, carol = people_of(answer, 2)
    assert (actor["part"], requester["part"], bob["part"]) == ("actor", "requester", "approver")
    assert (carol["person"], carol["role"], carol["lapses"]) == ("carol", "key-approver", [])
    assert carol["screening"]["due"] == day_text(START + timedelta(days=366))
    assert carol["duties"] == {"keeping-keys": [1, 1]}
    assert {grant["until"] for grant in carol["grants"]} == {text_of(START + timedelta(days=1_000))}


def test_the_transcript_says_who_acted_without_any_right_that_counted(check, world):
    world.change(c.SuspendPerson("dan", "on leave"))
    world.use(world.generate(intent=False), actor="person:dan", role="key-approver", outcome="fail")
    _, answer = check(world.bundle(), "--standing")
    (dan,) = people_of(answer, len(world.leaves) - 1)
    assert dan["lapses"] == ["Dan is on hold: on leave"]
    said = [text for mark, text in answer["transcript"] if mark == "standing"]
    assert any("actor dan" in text and "does not count (Dan is on hold" in text for text in said)


def test_the_standing_of_genesis_and_of_records_is_that_under_the_record_before(check, world):
    world.change(joiner("erin", Role.AUDITOR))
    world.change(c.RemovePerson("erin", "left"))
    world.event("AUDIT.QUERIED", {"n": 1}, actor="person:erin", role="auditor")
    _, answer = check(world.bundle())
    assert [one["person"] for one in people_of(answer, 0)] == ["alice", *world.officers]
    assert people_of(answer, 2)[0]["name"] == "Alice"
    assert people_of(answer, 3)[0]["name"] is None
