"""Certificates over HTTP: who may, what is refused, what is believed."""

from base64 import b64decode
from uuid import uuid4

import pytest

from tests.authority import Authority, named
from tests.certifying import PATH, REASON, answer, believed, build, submitted, text
from tests.stack import ok


@pytest.fixture(scope="module")
def bob(stack):
    """A custodian."""
    return stack.person("bob").client()


@pytest.fixture(scope="module")
def authority(bob):
    return believed(bob)


def test_what_is_not_the_authority_s_changes_nothing(stack, bob, authority) -> None:
    key = stack.order_key()
    one, request = submitted(bob, key)
    stranger = Authority(named("A stranger"))
    forger = Authority(authority.name)
    answers = [
        (stranger.issue(request), "issuer-unknown"),
        (forger.issue(request), "forged"),
        (authority.issue(request, public_key=forger.key.public_key()), "unknown"),
        (b"\x30\x03\x02\x01\x00", "unreadable"),
    ]
    results = [taken["result"] for taken in answer(bob, *(data for data, _ in answers))]
    assert results == [expected for _, expected in answers]
    assert ok(bob.get(f"{PATH}/{one}"))["state"] == "submitted"


def test_the_authority_s_word_is_reconciled_to_the_request(stack, bob) -> None:
    keys = [stack.order_key() for _ in range(3)]
    sent = [submitted(bob, key)[0] for key in keys]
    items = [
        {"name": f"{one}.csr", "status": status, "detail": "see your guide"}
        for one, status in zip(sent, ("error", "anomaly", "ineligible"), strict=True)
    ]
    items.append({"name": f"{uuid4()}.csr", "status": "error"})
    taken = ok(bob.post(f"{PATH}/answers", json={"items": items}))["items"]
    assert [each["result"] for each in taken] == ["refused"] * 3 + ["unknown"]
    shown = ok(bob.get(f"{PATH}/{sent[1]}"))
    assert (shown["state"], shown["reason"]) == ("rejected", "anomaly: see your guide")
    ok(bob.post(f"{PATH}/{sent[0]}/withdrawals", json=REASON))
    stack.change(keys[0], "activations")  # without a certificate, since it was given up
    assert build(bob, keys[1])[0]["code"] == "certificate-pending"


def test_an_interface_has_its_own_key_and_its_own_name(stack, bob) -> None:
    first, second = (stack.order_key(algorithm="RSA-2048") for _ in range(2))
    name = f"head-end-{uuid4().hex[:8]}"

    def asked(key, interface, system):
        item = {"key": key, "interface": interface, "system": system}
        body = {"profile": "iki-client", "items": [item]}
        return ok(bob.post(f"{PATH}/requests", json=body))["items"][0]

    made = asked(first, "ad-hoc-device-csr", name)
    assert made["status"] == "success", made
    ok(bob.post(f"{PATH}/{made['certificate']['id']}/withdrawals", json=REASON))
    for key, interface, system in (
        (first, "batched-device-csr", "another-name"),
        (second, "batched-device-csr", name),
        (second, "batched-device-csr", name.upper()),
    ):
        assert asked(key, interface, system)["code"] == "interface-taken"
    assert asked(first, "ad-hoc-device-csr", name)["status"] == "success"
    body = {"profile": "iki-client", "items": [{"key": second}]}
    assert bob.post(f"{PATH}/requests", json=body).status_code == 422


def test_the_same_call_twice_is_done_once(stack, bob, authority) -> None:
    key, once = stack.order_key(), {"headers": {"Idempotency-Key": uuid4().hex}}
    body = {"profile": "smki-organisation", "items": [{"key": key}]}
    first, second = (ok(bob.post(f"{PATH}/requests", json=body, **once)) for _ in range(2))
    assert first == second
    one = first["items"][0]["certificate"]
    ok(bob.post(f"{PATH}/submissions", json={"certificates": [one["id"]], "reference": "SD-4"}))
    once = {"headers": {"Idempotency-Key": uuid4().hex}}
    certificate = authority.issue(b64decode(one["csr"]))
    first, second = (answer(bob, certificate, **once) for _ in range(2))
    assert first == second
    assert first[0]["result"] == "issued"


def test_others_certificates_are_watched_and_no_longer_believed_once_revoked(stack, bob) -> None:
    root, issuing = Authority.pair()
    for one in (root, issuing):
        one.name = named(f"watched {uuid4()}")

    def watch(data, kind):
        body = {"certificate": text(data), "kind": kind}
        return bob.post(f"{PATH}/watched", json=body)

    issued = issuing.certificate(days=10)
    assert watch(issued, "issuing").json()["code"] == "invalid-input"  # its root is not known yet
    made = ok(watch(root.certificate(), "root"))
    assert watch(root.certificate(), "root").status_code == 201  # another serial, another one
    watched = ok(watch(issued, "issuing"))
    assert watch(issued, "issuing").json()["code"] == "conflict"
    assert watched["warning"] == "30"
    key = stack.order_key()
    _, request = submitted(bob, key)
    for each in (watched, made):
        ok(bob.post(f"{PATH}/{each['id']}/revocations", json=REASON))
    assert answer(bob, issuing.issue(request))[0]["result"] == "issuer-unknown"
    listed = ok(bob.get(f"{PATH}?kind=issuing&state=revoked"))["items"]
    assert watched["id"] in [each["id"] for each in listed]


def test_only_a_custodian_asks_and_records_and_others_see(stack, bob) -> None:
    key = stack.order_key()
    alice = stack.person("alice").client()  # the owner of keys
    body = {"profile": "smki-organisation", "items": [{"key": key}]}
    refused = alice.post(f"{PATH}/requests", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "not-permitted")
    [built] = build(bob, key)
    one = built["certificate"]["id"]
    assert ok(alice.get(f"{PATH}/{one}"))["key"] == key
    assert ok(alice.get(f"{PATH}?key={key}"))["items"][0]["id"] == one
    scope = {"party": "OTHER", "user_role": "GS", "user_id": "90-B3-D5-1F-30-01-00-01"}
    system = stack.system("elsewhere", "key:read", scope=scope).client()
    assert system.get(f"{PATH}/{one}").status_code == 404
    assert ok(system.get(f"{PATH}?key={key}"))["items"] == []
