"""Without a token: a sealed code stops one key, once, and gives nothing else."""

from uuid import uuid4

from keyvault.domain.commands import HoldPerson
from keyvault.domain.people import Role
from tests.stack import Stack, ok


def sealed(stack: Stack, person: str = "bob"):
    return ok(stack.person(person).client().post("/v1/emergency-codes", json={"days": 30}))


def stopped(stack: Stack, code: str, key: str, act: str = "suspend"):
    body = {"code": code, "key": key, "act": act, "reason": "the card is gone"}
    return stack.client().post("/v1/emergencies", json=body)


def test_a_code_suspends_a_key_once_without_a_certificate_and_the_log_names_its_owner(stack: Stack):
    key, other, made = stack.active_key(), stack.active_key(), sealed(stack)
    typed = made["code"].lower().replace("-", " ")
    assert ok(stopped(stack, typed, key)) == {"key": key, "state": "suspended"}
    again = stopped(stack, made["code"], other)
    assert (again.status_code, again.json()["code"]) == (401, "not-authenticated")
    history = ok(stack.person("bob").client().get(f"/v1/keys/{key}/history?limit=500"))["items"]
    [event] = [one for one in history if one["header"]["ty"] == "KEY.SUSPENDED"]
    assert event["header"]["ac"] == "person:bob"
    assert event["payload"]["emergency_code"] == made["id"]
    codes = ok(stack.person("bob").client().get("/v1/emergency-codes"))["items"]
    [line] = [one for one in codes if one["id"] == made["id"]]
    assert line["use"] == f"suspend {key}"
    assert "code" not in line


def test_a_code_declares_a_compromise_and_opens_its_case(stack: Stack):
    key, made = stack.active_key(), sealed(stack)
    assert ok(stopped(stack, made["code"], key, "compromise"))["state"] == "compromised"
    case = ok(stack.person("bob").client().get(f"/v1/keys/{key}/compromise"))
    assert case["declared_by"] == "person:bob"


def test_a_code_is_worth_no_more_than_its_owner(stack: Stack):
    stack.register("emil", Role.INCIDENT_LEAD)
    key, made = stack.active_key(), sealed(stack, "emil")
    stack.person("bob").alone(HoldPerson("emil", 1, "for a test"))
    refused = stopped(stack, made["code"], key)
    assert (refused.status_code, refused.json()["code"]) == (403, "not-permitted")


def test_who_may_stop_no_key_seals_no_code(stack: Stack):
    stack.register("willa", Role.WITNESS)
    refused = stack.person("willa").client().post("/v1/emergency-codes", json={"days": 30})
    assert (refused.status_code, refused.json()["code"]) == (403, "not-permitted")


def test_nobody_stops_a_key_with_a_code_that_was_withdrawn_or_guessed(stack: Stack):
    key, made, bob = stack.active_key(), sealed(stack), stack.person("bob").client()
    assert bob.delete(f"/v1/emergency-codes/{made['id']}").status_code == 204
    for code in (made["code"], "AAAA-BBBB", made["id"], "-"):
        refused = stopped(stack, code, key)
        assert (refused.status_code, refused.json()["code"]) == (401, "not-authenticated")
    assert bob.delete(f"/v1/emergency-codes/{uuid4()}").status_code == 404
    assert ok(bob.get(f"/v1/keys/{key}"))["state"] == "active"


def test_a_code_that_could_not_stop_its_key_is_still_sealed(stack: Stack):
    made, waiting = sealed(stack), stack.order_key()
    assert stopped(stack, made["code"], waiting).status_code == 409  # pre-active: nothing to stop
    assert stopped(stack, made["code"], str(uuid4())).status_code == 404
    assert ok(stopped(stack, made["code"], stack.active_key()))["state"] == "suspended"
