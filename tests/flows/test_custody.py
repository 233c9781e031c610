"""The whole life of a key in its custodians' words, and what keeps it from its end."""

from uuid import UUID

import pytest

from keyvault.domain.commands import EnrolSystem, LiftHold, RevokeSystem
from keyvault.domain.times import text_of
from tests.certifying import accept, answer, believed, submitted
from tests.stack import SCOPE, SYSTEM_ACTIONS, Machine, Stack, in_days, ok

NINE = [
    *("KEY.REQUESTED", "KEY.GENERATED", "KEY.REGISTERED", "KEY.LABELLED", "KEY.DISTRIBUTED"),
    *("KEY.INSTALLED", "KEY.RENEWED", "KEY.SUPERSEDED", "KEY.DESTROYED"),
]


def took(client, key: str, step: str, **told: str):
    return client.post(f"/v1/keys/{key}/steps", json={"step": step, **told})


def certified(bob, authority, key: str) -> str:
    certificate, request = submitted(bob, key)
    answer(bob, authority.issue(request))
    return accept(bob, certificate)["id"]


def test_one_key_goes_through_all_nine_verbs_and_its_history_tells_them_in_order(stack: Stack):
    bob, alice = stack.person("bob").client(), stack.person("alice").client()
    authority, key = believed(bob), stack.order_key(need="meters of the north")
    ok(took(bob, key, "labelled", text="ACME-17", place="safe 2"))
    ok(took(bob, key, "distributed", target="head-end-1", channel="courier", reference="B-9"))
    ok(took(alice, key, "installed", target="head-end-1"))
    first = certified(bob, authority, key)
    stack.change(key, "activations")
    second = certified(bob, authority, key)
    renewed = ok(took(bob, key, "renewed", certificate=second, reason="yearly"))
    assert renewed["details"]["serial"]
    stack.active_key(supersedes=key)
    for certificate in (first, second):
        why = {"reason": "its key is superseded"}
        ok(bob.post(f"/v1/certificates/{certificate}/revocations", json=why))
    stack.change(key, "destructions")
    history = ok(alice.get(f"/v1/keys/{key}/history?limit=500"))["items"]
    done = [one["header"]["ty"] for one in history if one["header"]["out"] == "ok"]
    assert [each for each in done if each in NINE] == NINE
    steps = ok(alice.get(f"/v1/keys/{key}/steps"))["items"]
    taken = [(one["number"], one["step"]) for one in steps]
    assert taken == [(1, "labelled"), (2, "distributed"), (3, "installed"), (4, "renewed")]


def test_no_step_is_left_out(stack: Stack):
    bob, key = stack.person("bob").client(), stack.order_key()
    for told in (
        {"step": "distributed", "target": "x", "channel": "mail"},
        {"step": "installed", "target": "x"},
    ):
        refused = bob.post(f"/v1/keys/{key}/steps", json=told)
        assert (refused.status_code, refused.json()["code"]) == (409, "key-state")
    ok(took(bob, key, "labelled", text="a label"))
    ok(took(bob, key, "distributed", target="x", channel="mail"))
    elsewhere = took(bob, key, "installed", target="y")
    assert elsewhere.json()["detail"] == "the key was never distributed to y"
    stranger = took(bob, key, "renewed", certificate=key, reason="none of its own")
    assert stranger.status_code == 409  # it is not active: the state is looked at first


@pytest.mark.parametrize(
    "body",
    [
        {"step": "labelled"},
        {"step": "labelled", "text": "x", "target": "y"},
        {"step": "destroyed", "text": "x"},
        {"step": "installed", "target": "x\n"},
        {"text": "x"},
    ],
)
def test_a_step_is_said_in_its_own_words_and_no_others(stack: Stack, body):
    bob = stack.person("bob").client()
    key = stack.order()["id"]
    refused = bob.post(f"/v1/keys/{key}/steps", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")


def test_a_step_told_twice_is_one_step(stack: Stack):
    bob, key = stack.person("bob").client(), stack.order_key()
    once = {"Idempotency-Key": f"label-{key}"}
    body = {"step": "labelled", "text": "a label"}
    answers = [ok(bob.post(f"/v1/keys/{key}/steps", json=body, headers=once)) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(ok(bob.get(f"/v1/keys/{key}/steps"))["items"]) == 1


def destroyed(stack: Stack, key: str):
    return (
        stack.person("alice")
        .client()
        .post(f"/v1/keys/{key}/destructions", json={"reason": "its time is over"})
    )


def lift(stack: Stack, key: str, hold: str) -> None:
    stack.carry_out(stack.ask(LiftHold(UUID(key), UUID(hold), "the case is closed")))


def test_a_held_key_is_not_destroyed_before_several_lift_the_hold(stack: Stack):
    bob, key = stack.person("bob").client(), stack.active_key()
    asked = ok(destroyed(stack, key))  # before the hold: it does not help
    held = ok(bob.post(f"/v1/keys/{key}/holds", json={"kind": "dispute", "reason": "case 12"}))
    for early in (destroyed(stack, key), _executed(stack, asked)):
        assert (early.status_code, early.json()["code"]) == (409, "key-needed")
        assert "(dispute), set by person:bob: case 12" in early.json()["detail"]
    lift(stack, key, held["id"])
    again = (
        stack.person("alice")
        .client()
        .post(
            "/v1/requests",
            json={
                "command": "lift-hold",
                "parameters": {"key": key, "hold": held["id"], "reason": "x"},
                "scope": None,
            },
        )
    )
    assert (again.status_code, again.json()["detail"]) == (409, "this hold is lifted already")
    stack.change(key, "destructions")
    late = bob.post(f"/v1/keys/{key}/holds", json={"kind": "legal", "reason": "too late"})
    assert late.json()["detail"].startswith("the key is destroyed")


def _executed(stack: Stack, asked):
    stack.approve(asked, "bob", "carol")
    return stack.person("alice").client().post(f"/v1/requests/{asked['id']}/executions")


def test_what_depends_on_a_key_is_listed_and_keeps_it(stack: Stack):
    bob, key = stack.person("bob").client(), stack.active_key()
    certificate = certified(bob, believed(bob), key)
    successor = stack.order_key(supersedes=key)
    machine, name = Machine(stack, "reader"), f"reader-{key[:8]}"
    named = (SYSTEM_ACTIONS, (key,), text_of(in_days(30)))
    wanted = EnrolSystem(name, "by name", machine.der, machine.der, *named)
    stack.carry_out(stack.ask(wanted, SCOPE))
    found = ok(bob.get(f"/v1/keys/{key}/dependants"))
    assert [one["id"] for one in found["certificates"]] == [certificate]
    assert (found["successor"], found["systems"]) == (successor, [name])
    refused = destroyed(stack, key).json()
    for reason in found["reasons"]:
        assert reason in refused["detail"]
    ok(bob.post(f"/v1/certificates/{certificate}/revocations", json={"reason": "x"}))
    stack.change(successor, "activations")
    stack.person("bob").alone(RevokeSystem(name, "gone"))
    assert ok(bob.get(f"/v1/keys/{key}/dependants"))["reasons"] == []
    stack.change(key, "destructions")


def test_keys_that_rest_under_a_key_keep_it(stack: Stack, vault):
    """None does yet in this service but under its own: the row is what counts."""
    kek = stack.active_key(algorithm="AES-256", usage="wrap")
    wrapped = stack.order_key(key_class="bulk")
    with vault.database.work() as work:
        assert work.keys.wrapped_under(UUID(kek), 1) == ([], 0)
        blob = work.keys.wrapped(UUID(wrapped))
        assert work.keys.wrapped_under(UUID(bytes=blob.kek_id), 1)[1] >= 1
