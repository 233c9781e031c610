"""A log that lets people decide whose rights had lapsed, or too few, and signs that it was so."""

from base64 import b64encode
from dataclasses import replace
from datetime import timedelta

import pytest

from keyvault.domain import commands as c
from keyvault.domain.people import Assurance, Credential, Role
from keyvault.domain.scopes import Scope
from keyvault.domain.times import day_text, text_of
from tests.evidence.people import (
    APPROVER,
    DUTY,
    P256,
    PEOPLE,
    SCOPE,
    START,
    grants,
    joiner,
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


def test_what_was_signed_during_a_hold_does_not_count_after_it(caught, world):
    world.change(c.HoldPerson("carol", 1, "lost her card"), approvers=("dan",))
    world.act(order(), wait=timedelta(hours=2))
    expect(caught, world, "the approval of carol does not count at 2026-11-22T09:01:02Z")


def test_a_hold_ends_by_itself_and_a_suspension_does_not(check, caught, world):
    world.change(c.HoldPerson("carol", 72, "lost her card"), approvers=("dan",))
    world.now += timedelta(hours=73)
    world.generate()
    assert check(world.bundle())[0] == 0
    world.change(c.SuspendPerson("carol", "under investigation"), approvers=("bob", "dan"))
    world.now += MONTH
    world.generate()
    expect(caught, world, "Carol is on hold: under investigation")


def test_those_who_are_due_review_others_only_when_too_few_are_left(check, caught):
    for lapsed, status in ((("bob", "carol", "fay"), 0), (("carol",), 1)):
        world = World(described=due_soon("dan", *lapsed))
        world.now += MONTH
        world.change(c.ReviewScreening("dan", screening(world.now)))
        assert check(world.bundle())[0] == status
    expect_record(caught, world, "the screening of Carol was due for review")


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


def test_a_key_that_only_logs_in_decides_nothing(caught, world):
    login = P256()
    world.change(c.EnrolCredential("dan", Credential(login.spki, Assurance.CARD, login_only=True)))
    request = world.request(order())
    votes = [world.approval("bob", request.document)]
    votes.append(world.approval("dan", request.document, key=login))
    world.act(order(), request=request, approvals=votes)
    expect(caught, world, "dan signed with a key that only logs in")


def test_the_next_card_signs(check, world):
    fresh = P256()
    world.change(c.EnrolCredential("dan", Credential(fresh.spki, Assurance.CARD)))
    request = world.request(order())
    votes = [world.approval("bob", request.document)]
    votes.append(world.approval("dan", request.document, key=fresh))
    world.act(order(), request=request, approvals=votes)
    assert check(world.bundle())[0] == 0


def test_a_key_in_a_second_encoding_is_nobodys(caught, world):
    erin = joiner("erin", Role.AUDITOR)
    document = world.request(erin).document
    point = PEOPLE["bob"].compressed
    document["parameters"]["credential"]["spki"] = b64encode(point).decode()
    world.change(erin, document=document)
    expect_record(caught, world, "spki of a credential is not what it should be")


def test_an_act_that_began_before_the_range_counts_as_of_when_its_people_signed(check, world):
    """Its intent stands before the range, and one who signed has left when it ends."""
    asked = world.request(order())
    votes = [world.approval(name, asked.document) for name in ("bob", "carol")]
    signed = {"request": asked.document, "approvals": [vote.document() for vote in votes]}
    more = {"stream": f"key:{asked.id}", "operation": asked.id, "scope": SCOPE}
    world.event("KEY.GENERATED", signed, outcome="intent", **more)
    world.change(c.RemovePerson("carol", "left"), approvers=("bob", "dan"))
    begun = len(world.leaves)
    world.event("KEY.GENERATED", {**signed, "key": str(asked.id)}, **more)
    for start in (0, begun):
        assert check(world.bundle(start=start))[0] == 0


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
    _, answer = check(world.bundle(), "--standing")
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
    _, answer = check(world.bundle(), "--standing")
    assert [one["person"] for one in people_of(answer, 0)] == ["alice", *world.officers]
    assert people_of(answer, 2)[0]["name"] == "Alice"
    assert people_of(answer, 3)[0]["name"] is None
