"""From order to signature to evidence, on each database."""

import hashlib
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

from keyvault.domain.commands import RevokeSystem
from tests.assessor import assert_evidence_holds, assert_verifies
from tests.stack import SYSTEM_ACTIONS, Stack, ok

DIGEST = hashlib.sha256(b"a service request").digest()
BODY = {"digest": b64encode(DIGEST).decode()}


def test_a_key_lives_from_order_to_destruction_and_the_evidence_holds(stack: Stack):
    key = stack.active_key()
    system = stack.system("adapter", *SYSTEM_ACTIONS)
    signed = ok(system.client().post(f"/v1/keys/{key}/signatures", json=BODY))
    assert_verifies(stack, key, [(DIGEST, signed["signatures"][0])])

    alice = stack.person("alice").client()
    ok(alice.post(f"/v1/keys/{key}/suspensions", json={"reason": "odd traffic"}))
    refused = system.client().post(f"/v1/keys/{key}/signatures", json=BODY)
    assert (refused.status_code, refused.json()["code"]) == (409, "key-state")
    assert refused.json()["detail"] == "the key is suspended"
    stack.change(key, "resumptions")
    ok(system.client().post(f"/v1/keys/{key}/signatures", json=BODY))
    stack.change(key, "deactivations")
    assert system.client().post(f"/v1/keys/{key}/signatures", json=BODY).status_code == 409
    stack.change(key, "destructions")
    assert ok(alice.get(f"/v1/keys/{key}"))["state"] == "destroyed"
    assert_evidence_holds(stack)


def test_a_wrapped_key_lives_like_a_resident_one(stack: Stack):
    key = stack.active_key(key_class="bulk")
    system = stack.system("wrapped-user", "key:sign")
    signed = ok(system.client().post(f"/v1/keys/{key}/signatures", json=BODY))
    assert_verifies(stack, key, [(DIGEST, signed["signatures"][0])])
    stack.change(key, "destructions")
    assert system.client().post(f"/v1/keys/{key}/signatures", json=BODY).status_code == 409


def test_of_sixteen_who_execute_at_once_one_makes_the_key(stack: Stack):
    request = stack.order()
    stack.approve(request, "bob", "carol")
    client = stack.person("alice").client()
    path = f"/v1/requests/{request['id']}/executions"
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: client.post(path), range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 15
    made = ok(client.get("/v1/keys?limit=500"))["items"]
    assert [key["id"] for key in made].count(request["id"]) == 1


def test_a_revoked_system_is_refused_within_a_second(stack: Stack):
    key = stack.active_key()
    system = stack.system("leaver", "key:sign")
    ok(system.client().post(f"/v1/keys/{key}/signatures", json=BODY))
    stack.person("bob").alone(RevokeSystem("leaver", "decommissioned"))
    refused = system.client().post(f"/v1/keys/{key}/signatures", json=BODY)
    assert (refused.status_code, refused.json()["code"]) == (401, "not-authenticated")


WHY = {"reason": "decommissioned"}


def test_the_same_idempotency_key_never_makes_a_second_key(stack: Stack):
    client = stack.person("alice").client()
    request = stack.order()
    stack.approve(request, "bob", "carol")
    path, once = f"/v1/requests/{request['id']}/executions", {"Idempotency-Key": "try-1"}
    first, again = (client.post(path, headers=once) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["outcome"] == again.json()["outcome"]
    other = client.post(f"/v1/requests/{stack.order()['id']}/executions", headers=once)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
