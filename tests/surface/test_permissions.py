"""The permission matrix against the routes themselves: every role tries every action there is."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from keyvault.domain.access import OWN_ACTIONS, PERMISSIONS, Action
from keyvault.domain.commands import (
    AcknowledgeDuty,
    HoldPerson,
    RemovePerson,
    RemoveRule,
    RevokeSystem,
    SuspendPerson,
)
from keyvault.domain.people import EVERYWHERE, Grant, Role
from keyvault.domain.statements import (
    WITHOUT_TOKEN,
    CertifyKey,
    Count,
    Dispatch,
    HandOver,
    Nominate,
    Signed,
    Statement,
)
from keyvault.domain.times import text_of
from keyvault.signatures import SoftwareCredential
from tests.stack import PASSPHRASE, SCOPE, joiner, ok

DIGEST = "A" * 43 + "="
ORDER = {
    "scope": SCOPE,
    "label": "x",
    "algorithm": "EC-P256",
    "usage": "sign",
    "key_class": "standard",
    "protect_days": 1,
    "process_days": 1,
}
REASON = {"reason": "for a test"}
UNTOLD = {
    Action.KEY_WRAP,  # keys are wrapped by an approved request alone
    Action.SERVICE_READ,  # readiness is told to everybody, its reasons to known callers
}


def asked(command):
    body = {"command": command.name, "parameters": command.parameters()}
    return "POST", "/v1/requests", body


def stated(said, path="/v1/tokens/statements", second="", **more):
    """A statement that nobody signed: only whether they might is asked."""
    about = None if isinstance(said, WITHOUT_TOKEN) else NOBODY
    words = Statement(
        *(NOBODY, "x", said, about, 0, "nobody", "00" * 32, second, f"1:{'00' * 32}"),
        "2026-01-01T00:00:00Z",
    )
    return "POST", path, {**Signed(words, b"x").document(), **more}


NOBODY = UUID(int=1)


# One call for each action. Only the right is asked: what the call would do next is not the point.
CALLS = {
    Action.KEY_READ: ("GET", "/v1/keys", None),
    Action.REQUEST_READ: ("GET", "/v1/requests", None),
    Action.AUTHORITY_READ: ("GET", "/v1/authority", None),
    Action.PEOPLE_READ: ("GET", "/v1/people", None),
    Action.AUDIT_READ: ("GET", "/v1/audit/events", None),
    Action.METRICS_READ: ("GET", "/metrics", None),
    Action.AUDIT_EXPORT: ("POST", "/v1/audit/exports", {"type": "KEY.IMPORTED"}),
    Action.RANDOM: ("POST", "/v1/random", {"size": 1}),
    Action.KEY_ORDER: ("POST", "/v1/keys", ORDER),
    Action.KEY_CHANGE: ("POST", "/v1/keys/{key}/destructions", REASON),
    Action.KEY_SUSPEND: ("POST", "/v1/keys/{key}/suspensions", REASON),
    Action.KEY_COMPROMISE: ("POST", "/v1/keys/{key}/compromises", REASON),
    Action.KEY_RECORD: ("POST", "/v1/keys/{key}/steps", {"step": "labelled", "text": "x"}),
    Action.KEY_CARRY: ("POST", "/v1/handovers/{request}/aborts", REASON),
    Action.KEY_HOLD: ("POST", "/v1/keys/{key}/holds", {"kind": "dispute", **REASON}),
    Action.CEREMONY_READ: ("GET", "/v1/ceremonies", None),
    Action.CEREMONY_HOLD: (
        *("POST", "/v1/ceremonies"),
        {"id": "0b6cf6a6-4f3c-4a6e-9d0f-0123456789ab", "script": "AAAA"},
    ),
    Action.KEY_SIGN: ("POST", "/v1/keys/{key}/signatures", {"digest": DIGEST}),
    Action.KEY_VERIFY: (
        *("POST", "/v1/keys/{key}/verifications"),
        {"digest": DIGEST, "signature": "AAAA"},
    ),
    Action.KEY_ENCRYPT: ("POST", "/v1/keys/{key}/encryptions", {"plaintext": "AAAA"}),
    Action.KEY_DECRYPT: ("POST", "/v1/keys/{key}/decryptions", {"ciphertext": "A" * 40}),
    Action.KEY_MAC: ("POST", "/v1/keys/{key}/macs", {"data": "AAAA"}),
    Action.KEY_DERIVE: ("POST", "/v1/counters/reservations", {"count": 1}),
    Action.CERTIFICATE_REQUEST: (
        "POST",
        "/v1/certificates/requests",
        "a request for a certificate",
    ),
    Action.CERTIFICATE_RECORD: (
        *("POST", "/v1/certificates/watched"),
        {"certificate": "AAAA", "kind": "other"},
    ),
    Action.REQUEST_DECIDE: ("POST", "/v1/requests/{request}/approvals", "an approval"),
    Action.REQUEST_EXECUTE: ("POST", "/v1/requests/{request}/executions", None),
    Action.REQUEST_CANCEL: ("POST", "/v1/requests/{request}/cancellations", REASON),
    Action.PEOPLE_CHANGE: asked(SuspendPerson("nobody", "x")),
    Action.PEOPLE_HOLD: asked(HoldPerson("nobody", 1, "x")),
    Action.SYSTEM_REVOKE: asked(RevokeSystem("dcc-1", "x")),
    Action.RULE_CHANGE: asked(RemoveRule("keys", "x")),
    Action.REGISTER_EXPORT: ("GET", "/v1/registers/modules", None),
    Action.KEY_RECONCILE: ("POST", "/v1/reconciliations", None),
    Action.TOKEN_READ: ("GET", "/v1/tokens", None),
    Action.TOKEN_OWN: stated(HandOver("erin", "x", "x"), second="erin"),
    Action.TOKEN_NOMINATE: stated(Nominate("erin", "x", "x", "x")),
    Action.TOKEN_VET: ("GET", "/v1/tokens/counts", None),
    Action.TOKEN_ISSUE: stated(Dispatch("x", "x", "x", "2026-01-01")),
    Action.TOKEN_WITNESS: stated(Count("x")),
    Action.TRACE_READ: ("GET", f"/v1/issuing/jobs/{NOBODY}/traces", None),
    Action.TOKEN_SUSPEND: ("POST", f"/v1/tokens/{NOBODY}/stops", {"step": "suspend", **REASON}),
    Action.CERTIFICATE_ISSUE: stated(
        CertifyKey(NOBODY, "client", "x", "00" * 32), "/v1/ca/certificates", request="AAAA"
    ),
    Action.DUTY_ACKNOWLEDGE: asked(AcknowledgeDuty("nobody", "keeping-keys", 1, "00" * 32)),
}


@pytest.fixture(scope="module")
def given(stack):
    """A key that is not active, a request that waits, and bodies that name them."""
    key, request = stack.order_key(), stack.order(label="for the matrix")
    bodies = {
        "an approval": stack.person("bob").approval(request),
        "a request for a certificate": {"profile": "smki-organisation", "items": [{"key": key}]},
    }
    return key, request["id"], bodies


def tried(client, action, given):
    """What the service says to this call of an action."""
    key, request, bodies = given
    method, path, body = CALLS[action]
    body = bodies[body] if isinstance(body, str) else body
    return client.request(method, path.format(key=key, request=request), json=body)


def test_every_action_is_tried():
    assert set(CALLS) == set(Action) - UNTOLD


@pytest.mark.usefixtures("dcc")
@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_do_what_its_row_says_and_nothing_else(stack, role, given):
    client = stack.register(f"only-{role}", role).client()
    for action in CALLS:
        answer = tried(client, action, given)
        if action in PERMISSIONS[role] | OWN_ACTIONS:
            assert answer.status_code != 403, (action, answer.text)
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "not-permitted"), action


@pytest.mark.usefixtures("dcc")
def test_a_system_may_do_what_its_enrolment_names_and_nothing_else(stack, signing_key, given):
    client = stack.system("reader", "key:read").client()
    ok(client.get(f"/v1/keys/{signing_key}"))
    for action in CALLS:
        answer = tried(client, action, (signing_key, *given[1:]))
        assert answer.status_code == (200 if action is Action.KEY_READ else 403), action


@pytest.fixture(scope="module")
def lapsed(stack):
    """A custodian who has not acknowledged their duty, so that nothing they hold counts."""
    credential = SoftwareCredential.create(stack.folder / "lena.key", PASSPHRASE)
    stack.carry_out(stack.ask(joiner("lena", credential, Role.KEY_CUSTODIAN)))
    return stack.newcomer("lena", credential)


def test_a_lapse_refuses_every_right_names_itself_and_says_what_mends_it(lapsed, given, auditor):
    text = "Lena has not acknowledged keeping-keys, version 1"
    for action in PERMISSIONS[Role.KEY_CUSTODIAN]:
        answer = tried(lapsed.client(), action, given)
        assert (answer.status_code, answer.json()["detail"]) == (403, text), action
        assert "keyvault duties acknowledge" in answer.json()["next_step"]
    query = {"type": "ACCESS.DENIED", "actor": "person:lena", "limit": 500}
    events = ok(auditor.client().get("/v1/audit/events", params=query))["items"]
    assert {event["payload"]["reason"] for event in events} == {text}
    me = ok(lapsed.client().get("/v1/whoami"))
    assert me["roles"] == []
    [lapse] = me["grants"][0]["lapses"]
    assert (lapse["code"], lapse["text"]) == ("duty-unacknowledged", text)
    assert lapse["since"]


def test_their_own_word_wakes_the_rights_that_lay_dormant(stack, given):
    credential = SoftwareCredential.create(stack.folder / "lars.key", PASSPHRASE)
    stack.carry_out(stack.ask(joiner("lars", credential, Role.KEY_CUSTODIAN)))
    lars = stack.newcomer("lars", credential)
    assert tried(lars.client(), Action.KEY_READ, given).status_code == 403
    lars.acknowledge()
    assert tried(lars.client(), Action.KEY_READ, given).status_code == 200


def test_nobody_gives_another_s_word(stack, lapsed):
    duty = ok(lapsed.client().get("/v1/rules"))["duties"][0]
    word = AcknowledgeDuty("lena", duty["name"], duty["version"], duty["sha256"])
    body = {"command": word.name, "parameters": word.parameters()}
    answer = stack.person("bob").client().post("/v1/requests", json=body)
    assert answer.status_code == 403 or "could not ask" in answer.text, answer.text


def test_a_role_for_one_scope_is_none_for_another(stack, given):
    end = text_of(datetime.now(UTC).replace(year=datetime.now(UTC).year + 1, day=1))
    other = f"{SCOPE['party']}/ELSEWHERE/{SCOPE['user_id']}"
    credential = SoftwareCredential.create(stack.folder / "nora.key", PASSPHRASE)
    new = joiner("nora", credential, grants=(Grant(Role.KEY_CUSTODIAN, other, end),))
    stack.carry_out(stack.ask(new))
    nora = stack.newcomer("nora", credential)
    nora.acknowledge()
    assert ok(nora.client().get("/v1/keys"))["items"] == []
    assert tried(nora.client(), Action.KEY_SUSPEND, given).status_code in (403, 404)
    assert ok(nora.client().get("/v1/whoami"))["grants"][0]["scope"] == other
    assert new.grants[0].scope != EVERYWHERE


def test_who_was_removed_is_out_at_once(stack):
    person = stack.register("oscar", "key-custodian")
    ok(person.client().get("/v1/keys"))
    stack.carry_out(stack.ask(RemovePerson("oscar", "has left")))
    answer = person.client().get("/v1/keys")
    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")
