"""Approvals at the HTTP surface: replayed, changed, late, at once, or of another server's request.

Each is refused, and the log says so.
"""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest

from hsm.types import VerifyPolicy
from keyvault.domain.approvals import Approval, Decision, Seen
from keyvault.domain.commands import SetKeyClass, SetRule
from keyvault.domain.keys import KeyClass, Residence
from keyvault.domain.people import Role
from keyvault.domain.rules import Rule
from keyvault.domain.times import text_of
from tests.stack import Document, Someone, Stack, ok
from tests.unit.officers import changed, places

MANY = 32
LIFE = 5  # seconds
NOWHERE = "keyvault.test/another/2026-1"


@pytest.fixture
def request_(stack: Stack) -> Document:
    return stack.order()


def hand_in(who: Someone, request: Document, approval: Document):
    return who.client().post(f"/v1/requests/{request['id']}/approvals", json=approval)


def told(auditor: Someone, request: Document) -> Counter[str]:
    """How often the log tells of what about a request."""
    query = {"stream": f"request:{request['id']}", "limit": 500}
    events = ok(auditor.client().get("/v1/audit/events", params=query))["items"]
    return Counter(event["header"]["ty"] for event in events)


def other(value: object) -> object:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value is None:
        return "x"
    return f"{value[:-1]}{'b' if value[-1:] == 'a' else 'a'}"  # type: ignore[index]


def test_an_approval_handed_in_twice_counts_once(stack, auditor, request_):
    bob = stack.person("bob")
    approval = bob.approval(request_)
    ok(hand_in(bob, request_, approval))
    for again in (approval, bob.approval(request_)):  # the same one, and a fresh one of the same
        answer = hand_in(bob, request_, again)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert told(auditor, request_)["APPROVAL.REJECTED"] == 2
    shown = ok(bob.client().get(f"/v1/requests/{request_['id']}"))
    assert (len(shown["approvals"]), shown["state"]) == (1, "requested")


def test_an_approval_of_another_request_is_no_approval_of_this(stack, auditor, request_):
    bob = stack.person("bob")
    answer = hand_in(bob, request_, bob.approval(stack.order()))
    assert (answer.status_code, answer.json()["code"]) == (422, "approval-invalid")
    assert told(auditor, request_)["APPROVAL.REJECTED"] == 1


CHANGES = {
    "approver": "carol",
    "credential": "ab" * 32,
    "decision": "refuse",
    "reason": "for another test",
    "at": text_of(datetime.now(UTC) + timedelta(seconds=20)),
    "signature": "AAAA",
}


def test_an_approval_changed_in_any_field_is_refused_and_told(stack, auditor, request_):
    bob, rejected = stack.person("bob"), 0
    good = bob.approval(request_)
    assert {*CHANGES, "seen"} == {field.name for field in fields(Approval)}
    seen = good["seen"]
    wrong = [{**good, name: value} for name, value in CHANGES.items()]
    wrong += [{**good, "seen": {**seen, name: other(seen[name])}} for name in seen]
    for number, approval in enumerate(wrong, 1):
        answer = hand_in(bob, request_, approval)
        assert (answer.status_code, answer.json()["code"]) == (422, "approval-invalid"), approval
        rejected = told(auditor, request_)["APPROVAL.REJECTED"]
        assert rejected == number
    for broken in ({**good, "more": 1}, {k: v for k, v in good.items() if k != "at"}):
        assert hand_in(bob, request_, broken).status_code == 422
    assert ok(bob.client().get(f"/v1/requests/{request_['id']}"))["approvals"] == []


def test_an_approval_of_a_request_changed_in_any_place_is_refused(stack, auditor, request_):
    """As if somebody had shown bob another request than the one that the service holds."""
    bob, document = stack.person("bob"), request_["document"]
    spots = list(places(document))
    for spot in spots:
        shown = changed(document, spot, other)
        unsigned = Approval.read(bob.approval(request_))
        signature = bob.credential.sign(replace(unsigned, signature=b"").message(shown))
        approval = replace(unsigned, signature=signature).document()
        answer = hand_in(bob, request_, approval)
        assert (answer.status_code, answer.json()["code"]) == (422, "approval-invalid"), spot
    assert told(auditor, request_)["APPROVAL.REJECTED"] == len(spots)
    assert len(spots) > 20


def test_an_approval_for_another_server_is_refused(stack, auditor, request_):
    """The same people and keys, the same request, but the log of another service."""
    bob = stack.person("bob")
    document = {**request_["document"], "origin": NOWHERE}
    answer = hand_in(bob, request_, bob.approval({**request_, "document": document}))
    assert (answer.status_code, answer.json()["code"]) == (422, "approval-invalid")
    elsewhere = Seen(1, "ab" * 32)
    unsigned = replace(Approval.read(bob.approval(request_)), seen=elsewhere, signature=b"")
    signature = bob.credential.sign(unsigned.message(request_["document"]))
    answer = hand_in(bob, request_, replace(unsigned, signature=signature).document())
    assert (answer.status_code, answer.json()["code"]) == (422, "approval-invalid")
    assert told(auditor, request_)["APPROVAL.REJECTED"] == 2


def test_of_32_who_hand_in_one_approval_at_once_one_is_taken(stack, auditor, request_):
    bob = stack.person("bob")
    send = partial(hand_in, bob, request_, bob.approval(request_))
    with ThreadPoolExecutor(MANY) as pool:
        answers = [call.result() for call in [pool.submit(send) for _ in range(MANY)]]
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: MANY - 1}
    counted = told(auditor, request_)
    assert (counted["APPROVAL.GIVEN"], counted["APPROVAL.REJECTED"]) == (1, MANY - 1)


def test_of_32_who_execute_at_once_one_does_and_the_others_are_told_of(stack, auditor, request_):
    stack.approve(request_, "bob", "carol")
    client, path = stack.person("alice").client(), f"/v1/requests/{request_['id']}/executions"
    with ThreadPoolExecutor(MANY) as pool:
        answers = [call.result() for call in [pool.submit(client.post, path) for _ in range(MANY)]]
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: MANY - 1}
    assert client.post(path).json()["code"] == "request-state"  # and long after, too
    assert told(auditor, request_)["EXECUTION.REFUSED"] == MANY


def test_what_is_done_takes_no_more_approvals(stack, auditor, request_):
    stack.carry_out(request_)
    late = stack.person("bob").decide(request_)
    assert (late.status_code, late.json()["code"]) == (409, "request-state")
    assert told(auditor, request_)["APPROVAL.REJECTED"] == 1


def test_too_few_approvals_carry_nothing_out_and_that_is_told(stack, auditor, request_):
    stack.approve(request_, "bob")
    early = stack.person("alice").client().post(f"/v1/requests/{request_['id']}/executions")
    assert (early.status_code, early.json()["code"]) == (409, "quorum")
    assert told(auditor, request_)["EXECUTION.REFUSED"] == 1


def test_a_refusal_ends_it_whoever_approves_after(stack, auditor, request_):
    ok(stack.person("bob").decide(request_, Decision.REFUSE))
    assert stack.person("carol").decide(request_).status_code == 409
    done = stack.person("alice").client().post(f"/v1/requests/{request_['id']}/executions")
    assert done.status_code == 409
    counted = told(auditor, request_)
    assert (counted["APPROVAL.REJECTED"], counted["EXECUTION.REFUSED"]) == (1, 1)


@pytest.fixture
def fleeting(stack: Stack) -> str:
    """A class of keys whose requests live for five seconds."""
    name = f"fleeting-{uuid4().hex[:6]}"
    standard = KeyClass(name, Residence.RESIDENT, VerifyPolicy.SAMPLED)
    stack.carry_out(stack.ask(SetKeyClass(standard, "for a test"), by="bob"))
    rule = Rule(name, ("generate-key",), (name,), (Role.KEY_APPROVER,), 2, LIFE, wait=1)
    stack.carry_out(stack.ask(SetRule(rule, "for a test"), by="bob"))
    return name


@pytest.mark.soak
def test_what_has_expired_takes_no_approval_and_is_carried_out_by_nobody(stack, auditor, fleeting):
    request = stack.order(key_class=fleeting)
    stack.approve(request, "bob")
    time.sleep(LIFE + 1.1)  # times are whole seconds
    late = stack.person("carol").decide(request)
    done = stack.person("alice").client().post(f"/v1/requests/{request['id']}/executions")
    for answer in (late, done):
        assert (answer.status_code, answer.json()["code"]) == (409, "request-state")
    counted = told(auditor, request)
    assert counted["APPROVAL.EXPIRED"] == 1
    assert (counted["APPROVAL.REJECTED"], counted["EXECUTION.REFUSED"]) == (1, 1)
