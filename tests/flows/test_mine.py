"""My duties: what waits for a person, each with the command that does it."""

from tests.stack import Stack, ok


def waiting(stack: Stack, person: str, kind: str):
    found = ok(stack.person(person).client().get("/v1/duties/mine"))["items"]
    return [one for one in found if one["kind"] == kind]


def test_a_request_waits_for_those_who_may_sign_until_they_did(stack: Stack):
    asked = stack.order()
    command = f"keyvault approvals approve {asked['id']}"
    for person, waits in (("alice", False), ("bob", True), ("carol", True)):
        assert (command in [one["command"] for one in waiting(stack, person, "approval")]) is waits
    stack.approve(asked, "bob")
    assert command not in [one["command"] for one in waiting(stack, "bob", "approval")]
    assert command in [one["command"] for one in waiting(stack, "carol", "approval")]


def test_who_answers_for_a_key_is_told_when_it_ends(stack: Stack):
    soon, late = stack.order_key(protect_days=30), stack.order_key(protect_days=300)
    told = " ".join(one["what"] for one in waiting(stack, "alice", "key"))
    assert soon in told
    assert late not in told
    assert waiting(stack, "bob", "key") == []


def test_a_compromise_waits_until_every_body_was_told(stack: Stack):
    key, bob = stack.active_key(), stack.person("bob").client()
    ok(bob.post(f"/v1/keys/{key}/compromises", json={"reason": "for a test"}))

    def mine():
        return [one for one in waiting(stack, "bob", "compromise") if key in one["what"]]

    assert len(mine()) == 1
    for body in ("dcc", "pma", "ssc"):
        case = ok(bob.get(f"/v1/keys/{key}/compromise"))
        told = {"body": body, "sent_at": case["declared_at"], "reference": "INC-1"}
        ok(bob.post(f"/v1/keys/{key}/compromise/notices", json=told))
    assert mine() == []


def test_a_custodian_reconciles_and_seals_a_code_and_a_system_has_no_duties(stack: Stack):
    assert waiting(stack, "bob", "reconciliation")
    assert waiting(stack, "alice", "reconciliation") == []
    before = waiting(stack, "carol", "emergency-code")
    ok(stack.person("carol").client().post("/v1/emergency-codes", json={"days": 90}))
    assert (len(before), waiting(stack, "carol", "emergency-code")) == (1, [])
    refused = stack.system("machine").client().get("/v1/duties/mine")
    assert refused.status_code == 403
