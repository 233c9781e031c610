"""What one person, one crash or one bad moment must not be able to do."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import sleep
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm.types import Algorithm, KeyUsage
from keyvault.bootstrap import build
from keyvault.domain.access import Principal
from keyvault.domain.approvals import Approval, RequestState, Seen
from keyvault.domain.audit import EventType
from keyvault.domain.commands import ExportKey, GenerateKey, RemovePerson
from keyvault.domain.errors import (
    ConflictError,
    InvalidInputError,
    KeyStateError,
    OutcomeUnknownError,
    QuorumError,
    RequestStateError,
)
from keyvault.domain.keys import KeyState
from keyvault.domain.people import Assurance, Credential
from keyvault.domain.times import text_of
from keyvault.operations import approvals, executors
from keyvault.operations.acts.base import Acting
from keyvault.operations.reconcile import Finding, reconcile
from keyvault.operations.vault import Once, Vault, remember
from keyvault.store.audit import LoggedEvent
from tests.assessor import assert_evidence_holds
from tests.flows.test_main_job import BODY, WHY
from tests.flows.test_reconcile import about, state
from tests.stack import SCOPE, Document, Someone, Stack, ok


def principal(vault: Vault, name: str) -> Principal:
    with vault.database.reading() as work:
        person = vault.authority(work).people[name]
        duties = vault.authority(work).duties
    return Principal(person, datetime.now(UTC) + timedelta(days=9), "00", duties)


def logged(vault: Vault, stream: str, kind: EventType) -> list[LoggedEvent]:
    with vault.database.reading() as work:
        return work.audit.page(type=kind, stream=stream)[0]


def begun(vault: Vault, request: UUID, once: Once | None = None) -> Acting:
    """Commit the intent of an approved request, as a crash leaves it."""
    who = principal(vault, "alice")
    with vault.database.work() as work:
        asked = work.requests.get(request).to(RequestState.EXECUTING)
        acting = Acting(vault, who.actor, "key-owner", asked)
        work.requests.change(asked)
        remember(work, who, once, None)
        work.commit(executors.intent(acting))
    return acting


def to_destroy(stack: Stack, key: str) -> UUID:
    asked = stack.person("alice").client().post(f"/v1/keys/{key}/destructions", json=WHY)
    return UUID(stack.approve(ok(asked), "bob", "carol")["id"])


def decided(who: Someone, request: Document, **changes: object) -> Document:
    """An approval in which something is not as it should be, but well signed."""
    approval = replace(Approval.read(who.approval(request)), **changes)  # type: ignore[arg-type]
    signature = who.credential.sign(approval.message(request["document"]))
    return replace(approval, signature=signature).document()


@pytest.mark.parametrize(
    "changes",
    [
        {"seen": Seen(10**9, "ab" * 32)},
        {"seen": Seen(1, "ab" * 32)},
        {"at": text_of(datetime.now(UTC) + timedelta(hours=3))},
    ],
    ids=["a log that is not yet", "another log", "a time that is not yet"],
)
def test_an_approval_that_would_spoil_the_evidence_does_not_count(stack: Stack, changes: Document):
    request = stack.order()
    bob = stack.person("bob")
    body = decided(bob, request, **changes)
    answer = bob.client().post(f"/v1/requests/{request['id']}/approvals", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "approval-invalid")


def test_a_session_does_not_outlive_the_credential_that_opened_it(stack: Stack):
    """Who was robbed is removed and comes back with a new credential; the thief does not."""
    robbed = stack.register("robbed", "auditor")
    thief = robbed.client()
    ok(thief.get("/v1/whoami"))
    stack.carry_out(stack.ask(RemovePerson("robbed", "was robbed")))
    (stack.folder / "robbed.key").unlink()
    back = stack.register("robbed", "auditor")
    sleep(1.1)
    assert thief.get("/v1/whoami").status_code == 401
    ok(back.client().get("/v1/whoami"))


def test_a_key_of_another_scope_cannot_be_told_from_none(stack: Stack):
    other = {"party": "OTHER", "user_role": "IS", "user_id": "x"}
    foreign = stack.active_key(scope=other)
    client = stack.system("curious", "key:sign", "key:read").client()
    nowhere = "00000000-0000-4000-8000-000000000000"
    for ask in (
        lambda key: client.get(f"/v1/keys/{key}"),
        lambda key: client.post(f"/v1/keys/{key}/signatures", json=BODY),
    ):
        answers = [ask(key).json() for key in (foreign, nowhere)]
        for answer in answers:
            del answer["instance"]
        told = str(answers[0]).replace(foreign, nowhere)
        assert told == str(answers[1])


def test_an_expired_request_says_so_and_so_does_the_log(stack: Stack, vault: Vault):
    request = UUID(stack.order()["id"])
    who = principal(vault, "bob")
    late = datetime.now(UTC) + timedelta(days=2)
    vault.clock = lambda: late
    for _ in range(2):
        with pytest.raises(RequestStateError, match="expired"):
            approvals.execute(vault, who, request)
    assert state(vault, request) is RequestState.EXPIRED
    assert len(logged(vault, f"request:{request}", EventType.APPROVAL_EXPIRED)) == 1


def test_of_two_destructions_of_a_key_one_is_void_and_reconciling_goes_on(
    stack: Stack, vault: Vault
):
    key = stack.active_key()
    requests = [to_destroy(stack, key) for _ in range(2)]
    for request in requests:
        begun(vault, request)
    verdicts = about(reconcile(vault), UUID(key))
    assert sorted(verdicts) == [Finding.COMPLETED, Finding.VOIDED]
    states = {state(vault, request) for request in requests}
    assert states == {RequestState.DONE, RequestState.VOID}
    assert about(reconcile(vault), UUID(key)) == []


def test_a_call_that_was_cut_off_is_answered_once_it_is_reconciled(stack: Stack, vault: Vault):
    who, once = principal(vault, "alice"), Once("cut-off", bytes(32))
    request = stack.order()
    stack.approve(request, "bob", "carol")
    acting = begun(vault, UUID(request["id"]), once)
    executors.act(acting)
    with pytest.raises(OutcomeUnknownError):
        approvals.execute(vault, who, UUID(request["id"]), once)
    reconcile(vault)
    outcome = approvals.execute(vault, who, UUID(request["id"]), once).outcome
    assert outcome["key"] == request["id"]
    assert outcome["public_key"]


def test_a_call_of_which_nothing_came_says_so_once_it_is_reconciled(stack: Stack, vault: Vault):
    who, once = principal(vault, "alice"), Once("nothing", bytes(32))
    request = stack.order()
    stack.approve(request, "bob", "carol")
    begun(vault, UUID(request["id"]), once)
    reconcile(vault)
    with pytest.raises(RequestStateError, match="void"):
        approvals.execute(vault, who, UUID(request["id"]), once)


def test_who_approved_and_left_while_the_device_was_at_work_spoils_nothing(
    stack: Stack, vault: Vault
):
    """The order was cleared when it began; a destruction that was cut off is finished, too."""
    leaver = stack.register("leaver", "key-approver")
    born, key = stack.order(), stack.active_key()
    doomed = ok(stack.person("alice").client().post(f"/v1/keys/{key}/destructions", json=WHY))
    for request in (born, doomed):
        stack.approve(request, "bob")
        ok(leaver.decide(request))
        executors.act(begun(vault, UUID(request["id"])))
    stack.carry_out(stack.ask(RemovePerson("leaver", "left")))
    verdicts = reconcile(vault)
    assert about(verdicts, UUID(born["id"])) == [Finding.ADOPTED]
    assert about(verdicts, UUID(key)) == [Finding.COMPLETED]
    assert_evidence_holds(stack)


def test_an_order_is_for_a_scope(vault: Vault):
    command = GenerateKey("x", Algorithm.EC_P256, KeyUsage.SIGN, "standard", 30, 30)
    with pytest.raises(InvalidInputError, match="scope"):
        approvals.ask(vault, principal(vault, "alice"), command, None)


def test_a_person_is_registered_with_a_key_that_people_sign_with():
    """Another spelling of a key would make two people of one."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    short = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    for spki in (b"junk", head + short):
        with pytest.raises(InvalidInputError, match="P-256"):
            Credential(spki, Assurance.SOFTWARE)


def test_a_kek_past_its_period_wraps_no_more(stack: Stack, vault: Vault):
    terms = {"algorithm": "AES-256", "key_class": "exchange"}
    kek = UUID(stack.active_key(**terms, usage="wrap", protect_days=1, process_days=9))
    key = UUID(stack.order_key(**terms, usage="encrypt"))
    who = principal(vault, "alice")
    approvals.ask(vault, who, ExportKey(key, kek, "x"), None)
    vault.clock = lambda: datetime.now(UTC) + timedelta(days=2)
    with pytest.raises(KeyStateError, match="period"):
        approvals.ask(vault, who, ExportKey(key, kek, "x"), None)


def test_a_key_goes_out_and_comes_back_and_the_evidence_holds(stack: Stack):
    terms = {"algorithm": "AES-256", "key_class": "exchange"}
    kek = stack.active_key(**terms, usage="wrap")
    key = stack.order_key(**terms, usage="encrypt")
    blob = stack.change(key, "exports", kek=kek)["outcome"]["blob"]
    alice = stack.person("alice").client()
    body = {"scope": SCOPE, "label": "back", "usage": "encrypt", "kek": kek, "blob": blob}
    body |= {**terms, "protect_days": 9, "process_days": 9}
    back = stack.carry_out(ok(alice.post("/v1/keys/imports", json=body)))["outcome"]["key"]
    shown = [ok(alice.get(f"/v1/keys/{one}"))["check_value"] for one in (key, back)]
    assert shown[0] == shown[1] != ""
    assert_evidence_holds(stack)


def test_who_is_removed_between_the_check_and_the_commit_does_not_count(stack: Stack, vault: Vault):
    leaver = stack.register("late-leaver", "key-approver")
    key = stack.order_key()
    request = ok(stack.person("alice").client().post(f"/v1/keys/{key}/activations", json=WHY))
    stack.approve(request, "bob")
    ok(leaver.decide(request))
    gone = stack.ask(RemovePerson("late-leaver", "left"))
    stack.approve(gone, "bob", "carol")
    other, who = build(stack.settings), principal(vault, "alice")
    with ThreadPoolExecutor(1) as pool:
        with other.database.work() as work:
            work.log.lock()  # nobody else commits, but on PostgreSQL they check already
            late = pool.submit(approvals.execute, vault, who, UUID(request["id"]))
            sleep(1)
            asked = work.requests.get(UUID(gone["id"])).to(RequestState.EXECUTING)
            acting = Acting(other, who.actor, "registrar", asked)
            work.commit(*executors.done(acting, executors.settle(acting, work, {})))
        with pytest.raises((ConflictError, QuorumError)):
            late.result()
    other.close()
    with vault.database.reading() as work:
        assert work.keys.get(UUID(key)).state is KeyState.PRE_ACTIVE
