"""A log that lies and signs its lies: only the people's own signatures stand against it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from keyvault.domain import commands as c
from keyvault.domain.approvals import Decision
from keyvault.domain.audit import EventType
from keyvault.domain.people import Role, thumbprint
from keyvault.domain.scopes import Scope
from tests.evidence.people import KEYS, PEOPLE, SCOPE, joiner
from tests.evidence.world import STRANGER, World, order, with_payload

EVENTS = "events.ndjson"
OTHER = Scope("another-party", "supplier", "u-2")


@pytest.fixture
def world():
    return World()


@pytest.fixture
def key(world):
    return world.generate()


def expect(caught, world, words):
    caught(world.bundle(), words, EVENTS, len(world.leaves) - 1)


# Asking -----------------------------------------------------------------------------------------


def asked(world, wanted=None, **changes):
    """A request and the event of its asking; the request is carried out with `changes` to it."""
    request = world.request(wanted or order())
    world.ask(request)
    return replace(request, **changes)


def test_a_request_that_the_log_tells_of_holds_and_others_are_a_limit(check, world):
    joins = joiner("erin", Role.AUDITOR)
    world.act(order(), request=asked(world))
    world.change(joins, request=asked(world, joins))
    status, answer = check(world.bundle())
    assert (status, "no event tells" in str(answer)) == (0, False)
    world.generate()
    status, answer = check(world.bundle())
    assert (status, "of 1 requests no event tells who asked" in str(answer)) == (0, True)


def test_a_request_dated_back_to_shorten_its_waiting_time_is_refused(caught, world):
    early = asked(world)
    earlier = replace(early, requested_at=early.requested_at - timedelta(minutes=10))
    world.act(order(), request=earlier)
    expect(caught, world, "and the log tells of")


def test_a_request_under_the_name_of_somebody_who_did_not_ask_is_refused(caught, world):
    world.act(order(), ("alice", "carol"), request=asked(world, requester="bob"))
    expect(caught, world, "the log tells that person:alice asked for this")


def test_a_request_that_was_exchanged_before_anybody_approved_it_is_refused(caught, world):
    world.act(order("other"), request=asked(world, order("k"), command=order("other")))
    expect(caught, world, "the log tells of another request under its id")


def test_a_change_of_authority_that_was_asked_for_by_somebody_else_is_refused(caught, world):
    joins = joiner("erin", Role.AUDITOR)
    world.change(joins, request=asked(world, joins, requester="dan"))
    expect(caught, world, "the log tells that person:alice asked for this")


def test_one_request_is_not_told_of_twice(caught, world):
    request = asked(world)
    world.ask(request)
    expect(caught, world, "the same request was asked for before")


# Approvals --------------------------------------------------------------------------------------


def test_one_approval_is_not_enough(caught, world):
    world.generate(approvers=("bob",))
    expect(caught, world, "1 of 2 approvals are there")


def test_no_approval_is_not_enough(caught, world):
    request = world.request(order())
    world.act(order(), request=request, approvals=(), approvers=())
    expect(caught, world, "0 of 2 approvals are there")


def test_one_person_twice_is_one_person(caught, world):
    world.generate(approvers=("bob", "bob"))
    expect(caught, world, "1 of 2 approvals are there")


def test_the_requester_does_not_count(caught, world):
    world.generate(approvers=("alice", "bob"))
    expect(caught, world, "alice asked for this and cannot approve it")


def test_two_are_not_enough_where_the_class_asks_for_three(caught, world):
    world.generate(key_class="critical", approvers=("bob", "carol"))
    expect(caught, world, "2 of 3 approvals are there")


def test_a_weaker_rule_than_the_one_in_force_is_refused(caught, world):
    request = world.request(order(key_class="critical"), rule=KEYS)
    world.act(order(), request=request)
    expect(caught, world, "another rule than the one in force")


def test_a_rule_made_up_for_the_request_is_refused(caught, world, key):
    easy = replace(KEYS, id="easy", roles=(Role.AUDITOR,))
    command = c.ActivateKey(key, "go")
    world.act(command, request=world.request(command, rule=easy))
    expect(caught, world, "another rule than the one in force")


def test_a_later_act_on_a_critical_key_needs_the_critical_rule(caught, world):
    critical = world.generate(key_class="critical", approvers=("bob", "carol", "dan"))
    world.act(c.ActivateKey(critical, "go"))
    expect(caught, world, "another rule than the one in force")


def test_a_stranger_is_no_approver(caught, world):
    world.generate(approvers=("bob", "erin"))
    expect(caught, world, "erin is no person known to authority")


def test_a_person_without_the_role_does_not_count(caught, world):
    world.change(joiner("erin", Role.AUDITOR))
    world.generate(approvers=("bob", "erin"))
    expect(caught, world, "Erin does not hold the role key-approver")


def test_a_person_who_was_removed_does_not_count_any_more(caught):
    world = World()
    request = world.request(order())
    early = [world.approval(name, request.document) for name in ("bob", "dan")]
    world.change(c.RemovePerson("dan", "left"), approvers=("bob", "carol"))
    world.act(order(), request=request, approvals=early)
    expect(caught, world, "dan is no person known to authority")


def test_nobody_is_removed_without_whom_nobody_could_be_registered(caught, world):
    for name in ("fay", "dan", "alice"):
        world.change(c.RemovePerson(name, "left"))
    caught(world.bundle(), "nobody could be registered any more", "authority.ndjson", 3)


def test_a_signature_by_another_key_is_not_the_persons(caught, world):
    request = world.request(order())
    forged = [
        world.approval("bob", request.document),
        world.approval("carol", request.document, key=STRANGER),
    ]
    world.act(order(), request=request, approvals=forged)
    expect(caught, world, "not an enrolled key of carol")


def test_a_forged_signature_under_the_right_name_is_not_valid(caught, world):
    request = world.request(order())
    credential = thumbprint(PEOPLE["carol"].spki)
    forged = [
        world.approval("bob", request.document),
        world.approval("carol", request.document, key=STRANGER, credential=credential),
    ]
    world.act(order(), request=request, approvals=forged)
    expect(caught, world, f"the signature of carol on request {request.id} is not valid")


def test_approvals_of_another_request_are_not_valid(caught, world):
    asked, other = world.request(order("small")), world.request(order("large"))
    approvals = [world.approval(name, asked.document) for name in ("bob", "carol")]
    world.act(order("large"), request=other, approvals=approvals)
    expect(caught, world, "is not valid")


@pytest.mark.parametrize(
    "change",
    [{"nonce": "00" * 15 + "01"}, {"requester": "dan"}, {"scope": OTHER.document()}],
    ids=["nonce", "requester", "scope"],
)
def test_a_request_changed_after_it_was_approved_is_not_valid(caught, world, change):
    request = world.request(order())
    approvals = [world.approval(name, request.document) for name in ("bob", "carol")]
    document = {**request.document, **change}
    scope = OTHER if "scope" in change else SCOPE
    world.act(order(), request=request, document=document, approvals=approvals, scope=scope)
    expect(caught, world, "is not valid")


def test_a_refusal_is_no_approval(caught, world):
    request = world.request(order())
    votes = [
        world.approval("bob", request.document),
        world.approval("carol", request.document),
        world.approval("dan", request.document, decision=Decision.REFUSE),
    ]
    world.act(order(), request=request, approvals=votes)
    expect(caught, world, "dan refused")


@pytest.mark.parametrize("at", ["2026-11-22T08:58:00Z", "2026-11-24T09:00:00Z"])
def test_an_approval_outside_the_requests_time_does_not_count(caught, world, at):
    request = world.request(order())
    votes = [
        world.approval("bob", request.document),
        world.approval("carol", request.document, at=at),
    ]
    world.act(order(), request=request, approvals=votes)
    expect(caught, world, "carol is outside the request's time")


def test_an_approval_given_after_the_act_does_not_count(caught, world):
    request = world.request(order())
    votes = [
        world.approval("bob", request.document),
        world.approval("carol", request.document, at="2026-11-22T15:00:00Z"),
    ]
    world.act(order(), request=request, approvals=votes)
    expect(caught, world, "carol approved after it had happened")


@pytest.mark.parametrize("intent", [True, False])
def test_an_act_that_began_after_its_request_expired_is_refused(caught, world, key, intent):
    world.act(c.ActivateKey(key, "go"), wait=timedelta(days=2), intent=intent)
    expect(caught, world, "it began after the request had expired")


def test_an_act_that_was_begun_in_time_may_end_late(check, world):
    request = world.request(order())
    votes = [world.approval(name, request.document) for name in ("bob", "carol")]
    signed = {"request": request.document, "approvals": [v.document() for v in votes]}
    more = {"stream": f"key:{request.id}", "operation": request.id, "scope": SCOPE}
    world.event(EventType.KEY_GENERATED, signed, outcome="intent", **more)
    world.now += timedelta(days=3)
    done = {**signed, "key": str(request.id), "reconciled": True}
    world.event(EventType.KEY_GENERATED, done, **more)
    assert check(world.bundle())[0] == 0


def test_a_request_whose_expiry_was_stretched_is_refused(caught, world):
    request = world.request(order())
    document = {**request.document, "expires_at": "2027-11-22T09:00:00Z"}
    world.act(order(), request=request, document=document)
    expect(caught, world, "does not expire when its rule says")


def test_a_request_is_used_once(caught, world):
    request = world.request(order())
    for _ in range(2):
        world.act(order(), request=request)
    expect(caught, world, "uses a request a second time")


# What happened is what was approved -------------------------------------------------------------


def test_another_act_than_the_one_approved_is_refused(caught, world, key):
    world.act(c.ActivateKey(key, "go"), kind=EventType.KEY_DESTROYED)
    expect(caught, world, "people approved activate-key, not destroy-key")


def test_another_key_than_the_one_approved_is_refused(caught, world, key):
    other = world.generate()
    world.act(c.ActivateKey(key, "go"), key=other)
    expect(caught, world, "another key than people approved")


def test_a_new_key_bears_the_id_of_its_request(caught, world, key):
    world.act(order(), key=key)
    expect(caught, world, "another key than people approved")


def test_another_parameter_than_the_one_approved_is_refused(caught, world):
    world.generate(payload={"algorithm": "rsa-2048"})
    expect(caught, world, "algorithm is not what people approved")


def test_another_scope_than_the_one_approved_is_refused(caught, world):
    world.generate(scope=OTHER)
    expect(caught, world, "the scope is not what people approved")


def test_a_key_does_not_change_its_scope(caught, world, key):
    command = c.ActivateKey(key, "go")
    world.act(command, request=world.request(command, scope=OTHER), scope=OTHER)
    expect(caught, world, "the key belongs to another scope")


def test_a_request_of_another_log_is_refused(caught, world):
    request = world.request(order())
    document = {**request.document, "origin": "vault.example/site-2/2026-1"}
    world.act(order(), request=request, document=document)
    expect(caught, world, "the request belongs to another log")


def test_a_request_with_a_field_that_nobody_knows_is_refused(caught, world):
    request = world.request(order())
    world.act(order(), request=request, document={**request.document, "also": "x"})
    expect(caught, world, "a request takes exactly")


def test_an_act_that_shows_no_approvals_at_all_is_refused(caught, world, key):
    world.event(EventType.KEY_ACTIVATED, {"key": str(key)}, stream=f"key:{key}", scope=SCOPE)
    expect(caught, world, "cannot be read")


def test_an_act_with_an_empty_payload_does_not_pass_for_a_withheld_one(caught, world, key):
    stream = f"key:{key}"
    world.event(EventType.KEY_ACTIVATED, {}, stream=stream, scope=SCOPE)
    world.leaves[-1] = with_payload(world.leaves[-1], None)
    expect(caught, world, "payload is not an object")


def test_a_suspended_key_signs_nothing(caught, world, key):
    world.act(c.ActivateKey(key, "go"))
    world.use(key)
    world.event(EventType.KEY_SUSPENDED, {"key": str(key)}, stream=f"key:{key}", scope=SCOPE)
    world.use(key)
    expect(caught, world, "the key is used after KEY.SUSPENDED")


def test_a_key_that_was_never_activated_signs_nothing(caught, world, key):
    world.use(key)
    expect(caught, world, "the key is used after KEY.GENERATED")


def test_a_key_that_nobody_ordered_signs_nothing(caught, world):
    world.use(world.unique())
    expect(caught, world, "KEY.USED of a key that was never made")


def test_an_intent_alone_makes_no_key(caught, world):
    request = world.request(order())
    votes = [world.approval(name, request.document).document() for name in ("bob", "carol")]
    signed = {"request": request.document, "approvals": votes}
    stream = f"key:{request.id}"
    world.event(EventType.KEY_GENERATED, signed, outcome="intent", stream=stream, scope=SCOPE)
    world.use(request.id)
    expect(caught, world, "KEY.USED of a key that was never made")


def test_a_destroyed_key_does_nothing_any_more(caught, world, key):
    world.act(c.DestroyKey(key, "over"))
    world.act(c.ActivateKey(key, "again"))
    expect(caught, world, "the key was destroyed before")


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"details_root": "00" * 32}, "have another root"),
        ({"count": 9}, "are not complete"),
        ({"details": []}, "are not complete"),
        ({"details": "x"}, "cannot be read"),
    ],
)
def test_a_batch_shows_every_signature_it_counts(caught, world, key, payload, words):
    world.act(c.ActivateKey(key, "go"))
    world.use(key, 5, payload=payload)
    expect(caught, world, words)
