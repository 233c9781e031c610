"""Keys carried in and out by people: every wrong turn is refused, and nothing of it stays."""

import json
import os
import subprocess
from base64 import b64decode, b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from hsm.types import Algorithm, CheckValues, KeyUsage
from keyvault import components, sealed, signatures
from keyvault.domain.canonical import canonical
from keyvault.domain.commands import (
    ExportComponents,
    ExportEnvelope,
    ImportComponents,
    ImportEnvelope,
)
from keyvault.domain.handovers import (
    DELIVERY_CONTEXT,
    STATEMENT_CONTEXT,
    TRANSCRIPT_CONTEXT,
    Delivery,
    digest,
    sealing_context,
)
from keyvault.domain.people import thumbprint
from keyvault.domain.times import text_of
from keyvault.operations import handovers
from keyvault.operations.reconcile import reconcile
from keyvault.signatures import spki_der
from tests.assessor import assert_evidence_holds
from tests.contract.test_carrying import check_values, xor
from tests.flows import canaries
from tests.stack import SCOPE, ok
from tests.vectors import make_gbcs

CUSTODIANS = ("erin", "frank", "grace")
NO_CHECK = CheckValues("", "")
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


@pytest.fixture(scope="module")
def custodians(stack):
    return {name: stack.register(name, "key-custodian") for name in CUSTODIANS}


def terms(usage=KeyUsage.MAC, algorithm=Algorithm.AES_256, key_class="standard"):
    return ("carried", algorithm, usage, key_class, 30, 60)


def opened(stack, command):
    """Ask for a handover as alice, let bob and carol approve it, and open it."""
    request = stack.ask(command, None if hasattr(command, "key") else SCOPE)
    stack.carry_out(request)
    return ok(stack.person("bob").client().get(f"/v1/handovers/{request['id']}"))


def brought(stack, command):
    """A handover that is open, and the id of its request."""
    item = opened(stack, command)
    return item, item["id"]


class Custodian:
    """One custodian at their terminal: a session of their own, and their credential."""

    def __init__(self, stack, person):
        self.id, self.credential = person.id, person.credential
        certificate, key = person.log_in()
        self.client = stack.client(certificate, key)
        own = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
        self.session = thumbprint(spki_der(own))
        self.origin = stack.settings.origin

    def delivery(self, item, number, content, check=NO_CHECK, **changes):
        made = Delivery(
            self.origin,
            UUID(item["id"]),
            digest(b64decode(item["statement"])),
            number,
            self.id,
            thumbprint(self.credential.spki),
            self.session,
            content,
            check,
            text_of(datetime.now(UTC)),
        )
        return replace(made, **changes)

    def hand(self, item, delivery, signer=None):
        signature = (signer or self.credential).sign(delivery.message)
        body = {"delivery": delivery.document(), "signature": b64encode(signature).decode()}
        return self.client.post(f"/v1/handovers/{item['id']}/deliveries", json=body)

    def bring(self, item, number, component, check=None, **changes):
        said = json.loads(b64decode(item["statement"]))
        context = sealing_context(UUID(item["id"]), b64decode(item["statement"]), number, self.id)
        content = sealed.seal(b64decode(said["public_key"]), component, context)
        check = check or components.check_values(component)
        return self.hand(item, self.delivery(item, number, content, check, **changes))

    def collect(self, item, number):
        own = ec.generate_private_key(ec.SECP256R1())
        answer = self.hand(item, self.delivery(item, number, spki_der(own.public_key())))
        if answer.is_success:
            statement = b64decode(item["statement"])
            context = sealing_context(UUID(item["id"]), statement, number, self.id)
            return sealed.opened(own, b64decode(answer.json()["sealed"]), context)
        return answer


@pytest.fixture
def desks(stack, custodians):
    return [Custodian(stack, custodians[name]) for name in CUSTODIANS]


def code(answer):
    assert not answer.is_success, answer.text
    return answer.json()["code"]


def verified(vault, context, data, signature):
    with vault.database.reading() as work:
        evidence = vault.authority(work).services.evidence
    return signatures.verify(evidence, b64decode(signature), context + b64decode(data))


def objects(vault):
    found = vault.gate.inventory()
    return {(one.object_class, one.key_id) for one in found if one.object_class != "DATA"}


def told(stack, key):
    page = ok(stack.person("bob").client().get(f"/v1/keys/{key}/history?limit=100"))
    return [one["header"]["ty"] for one in page["items"]]


def test_three_custodians_make_a_key_whose_check_values_openssl_knows(stack, vault, desks):
    parts = [os.urandom(32) for _ in CUSTODIANS]
    whole = xor(*parts)
    expected = check_values(whole)
    command = ImportComponents(*terms(), CUSTODIANS, f"ecb:{expected.ecb}", 10)
    item, key = brought(stack, command)
    assert verified(vault, STATEMENT_CONTEXT, item["statement"], item["signature"])
    answers = [
        ok(desk.bring(item, number, part))
        for number, (desk, part) in enumerate(zip(desks, parts, strict=True), 1)
    ]
    assert [one["missing"] for one in answers] == [2, 1, 0]
    ended = answers[-1]["handover"]
    assert ended["state"] == "done"
    for shown, part in zip(ended["parts"], parts, strict=True):
        right = check_values(part)
        assert shown["check_values"] == {"cmac": right.cmac, "ecb": right.ecb}
    said = json.loads(b64decode(ended["transcript"]))
    assert said["check_values"] == {"cmac": expected.cmac, "ecb": expected.ecb}
    inside = "softokn" in stack.settings.keys.uri
    where = "xor-in-module" if inside else "xor-in-gate-overwritten"
    assert (said["outcome"], said["combined"]) == ("done", where)
    assert [one["person"] for one in said["parts"]] == list(CUSTODIANS)
    for desk, one in zip(desks, said["parts"], strict=True):  # anybody can check who brought it
        signed = canonical(
            {"ctx": DELIVERY_CONTEXT, **{n: v for n, v in one.items() if n != "signature"}}
        )
        assert signatures.verify(desk.credential.spki, b64decode(one["signature"]), signed)
    own = ended["transcript"], ended["transcript_signature"]
    assert verified(vault, TRANSCRIPT_CONTEXT, *own)
    kept = ok(stack.person("bob").client().get(f"/v1/keys/{key}"))
    assert kept["check_value"] == expected.cmac
    names = told(stack, key)
    assert names.count("HANDOVER.DELIVERED") == 3
    assert names[-1] == "KEY.REGISTERED"
    canaries.assert_nowhere(stack, *parts, whole)


def test_whoever_is_not_named_comes_twice_or_borrows_a_session_is_refused(stack, vault, desks):
    erin, frank, grace = desks
    before = objects(vault)
    item, key = brought(stack, ImportComponents(*terms(), ("erin", "frank"), None, 10))
    part = os.urandom(32)
    assert code(grace.bring(item, 1, part)) == "component-refused"
    assert code(erin.bring(item, 2, part)) == "component-refused"
    assert code(erin.bring(item, 3, part)) == "component-refused"
    wrong = components.check_values(os.urandom(32))
    assert code(erin.bring(item, 1, part, wrong)) == "component-invalid"
    assert code(erin.bring(item, 1, part[:16])) == "component-invalid"
    foreign = erin.delivery(item, 1, b"\4" * 97)
    assert code(erin.hand(item, foreign)) == "component-invalid"
    assert code(erin.hand(item, foreign, frank.credential)) == "component-refused"
    assert code(erin.bring(item, 1, part, session=frank.session)) == "component-refused"
    body = {"delivery": foreign.document(), "signature": "no base64"}
    path = f"/v1/handovers/{key}/deliveries"
    assert code(erin.client.post(path, json=body)) == "invalid-input"
    late = text_of(datetime.now(UTC) - timedelta(minutes=5))
    assert code(erin.bring(item, 1, part, at=late)) == "component-refused"
    assert code(erin.bring(item, 1, part, statement="0" * 64)) == "handover-ended"
    ok(erin.bring(item, 1, part))
    assert code(erin.bring(item, 1, part)) == "component-refused"
    frank.session, frank.client = erin.session, erin.client  # at the same terminal
    assert code(frank.bring(item, 2, part)) == "component-refused"
    gone = ok(grace.client.post(f"/v1/handovers/{key}/aborts", json={"reason": "a stranger"}))
    assert gone["state"] == "aborted"
    assert json.loads(b64decode(gone["transcript"]))["reason"] == "a stranger"
    assert code(erin.bring(item, 1, part)) == "handover-ended"
    assert objects(vault) == before
    asked = ok(stack.person("alice").client().get(f"/v1/requests/{key}"))
    assert asked["state"] == "void"
    assert code(grace.client.post(f"/v1/handovers/{key}/aborts", json={"reason": "again"})) == (
        "handover-ended"
    )


def test_another_key_than_the_one_approved_is_not_made(stack, vault, desks):
    before = objects(vault)
    command = ImportComponents(*terms(), ("erin", "frank"), "cmac:000000", 10)
    item, key = brought(stack, command)
    ok(desks[0].bring(item, 1, os.urandom(32)))
    assert code(desks[1].bring(item, 2, os.urandom(32))) == "check-value"
    ended = ok(desks[0].client.get(f"/v1/handovers/{key}"))
    assert ended["state"] == "aborted"
    assert len(json.loads(b64decode(ended["transcript"]))["parts"]) == 2
    assert objects(vault) == before


def test_nobody_approves_a_key_of_which_they_carry_a_part(stack, custodians):
    assert custodians
    command = ImportComponents(*terms(), ("bob", "erin"), None, 10)
    request = stack.ask(command, SCOPE)
    refused = stack.person("bob").decide(request)
    assert (refused.status_code, refused.json()["code"]) == (422, "approval-invalid")
    unknown = ImportComponents(*terms(), ("alice", "erin"), None, 10)
    body = {"command": unknown.name, "parameters": unknown.parameters(), "scope": SCOPE}
    assert code(stack.person("alice").client().post("/v1/requests", json=body)) == "invalid-input"


def test_time_ends_a_handover_and_so_does_a_gate_that_starts_anew(stack, vault, desks):
    before = objects(vault)
    item, key = brought(stack, ImportComponents(*terms(), ("erin", "frank"), None, 1))
    ok(desks[0].bring(item, 1, os.urandom(32)))
    assert handovers.expire(vault) == 0
    assert all(verdict.key != key for verdict in reconcile(vault))  # people are busy with it
    now = vault.clock()
    vault.clock = lambda: now + timedelta(minutes=2)
    assert handovers.expire(vault) == 1
    assert ok(desks[0].client.get(f"/v1/handovers/{key}"))["state"] == "expired"
    vault.clock = lambda: datetime.now(UTC)
    item, key = brought(stack, ImportComponents(*terms(), ("erin", "frank"), None, 5))
    ok(desks[0].bring(item, 1, os.urandom(32)))
    stack.kill("gate")
    stack.start("gate")
    assert code(desks[1].bring(item, 2, os.urandom(32))) == "handover-ended"
    assert key in {verdict.key for verdict in reconcile(vault)}
    assert ok(desks[0].client.get(f"/v1/handovers/{key}"))["state"] == "lost"
    with vault.database.reading() as work:
        events, _ = work.audit.page(stream=f"key:{key}", limit=100)
    names = [event.header["ty"] for event in events]
    assert names.count("HANDOVER.LOST") == 1
    assert objects(vault) == before


def test_a_key_leaves_by_components_in_bags_and_comes_back_the_same(stack, desks):
    key = stack.order_key(algorithm="AES-256", usage="mac", key_class="exchange")
    check = ok(stack.person("bob").client().get(f"/v1/keys/{key}"))["check_value"]
    item, out = brought(stack, ExportComponents(UUID(key), CUSTODIANS, 10, "to the other site"))
    parts = [desk.collect(item, number) for number, desk in enumerate(desks, 1)]
    assert code(desks[0].collect(item, 2)) == "component-refused"
    assert desks[0].collect(item, 1) == parts[0]  # a terminal that broke asks again
    assert check_values(xor(*parts)).cmac == check
    path = f"/v1/handovers/{out}/bags"
    assert ok(desks[0].client.get(f"/v1/handovers/{out}"))["state"] == "open"
    for number, desk in enumerate(desks, 1):
        body = {"number": number, "bag": f"TE-{number}", "step": "sealed"}
        done = ok(desk.client.post(path, json=body))
    assert done["state"] == "done"
    back = {"number": 2, "bag": "TE-7", "step": "returned"}
    wrong = desks[0].client.post(path, json=back)
    assert (wrong.status_code, code(wrong)) == (409, "bag-mismatch")
    assert ok(desks[0].client.post(path, json={**back, "bag": "TE-2"}))["parts"][1]["returned_at"]
    names = told(stack, key)
    for name, count in (("BAG.SEALED", 3), ("BAG.MISMATCHED", 1), ("KEY.EXPORTED", 2)):
        assert names.count(name) == count, name
    again, new = brought(stack, ImportComponents(*terms(), CUSTODIANS, f"cmac:{check}", 10))
    for number, (desk, part) in enumerate(zip(desks, parts, strict=True), 1):
        ok(desk.bring(again, number, part))
    assert ok(stack.person("bob").client().get(f"/v1/keys/{new}"))["check_value"] == check
    canaries.assert_nowhere(stack, *parts, xor(*parts))


def test_a_key_that_may_not_leave_is_not_even_asked_for(stack, custodians):
    assert custodians
    key = UUID(stack.order_key(algorithm="AES-256", usage="mac"))
    recipient = rsa.generate_private_key(65537, 2048).public_key()
    for command in (
        ExportComponents(key, ("erin", "frank"), 10, "why not"),
        ExportEnvelope(key, der(recipient), "why not"),
    ):
        body = {"command": command.name, "parameters": command.parameters()}
        asked = stack.person("alice").client().post("/v1/requests", json=body)
        assert code(asked) == "invalid-input"


def der(key):
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_an_envelope_comes_in_and_another_goes_out(stack, desks):
    erin, secret = desks[0], os.urandom(32)
    expected = f"cmac:{check_values(secret).cmac}"
    command = ImportEnvelope(*terms(key_class="exchange"), "erin", None, expected, 10)
    item, key = brought(stack, command)
    said = json.loads(b64decode(item["statement"]))
    to, ephemeral = load_der_public_key(b64decode(said["public_key"])), os.urandom(32)
    blob = keywrap.aes_key_wrap_with_padding(ephemeral, secret)
    envelope = to.encrypt(ephemeral, OAEP) + blob
    damaged = envelope[:-1] + bytes([envelope[-1] ^ 1])
    assert code(erin.hand(item, erin.delivery(item, 1, damaged))) == "hsm-data-invalid"
    assert code(desks[1].hand(item, desks[1].delivery(item, 1, envelope))) == "component-refused"
    done = ok(erin.hand(item, erin.delivery(item, 1, envelope)))
    assert done["handover"]["state"] == "done"
    recipient = rsa.generate_private_key(65537, 3072)
    out = ExportEnvelope(UUID(key), der(recipient.public_key()), "to another party")
    made = b64decode(stack.carry_out(stack.ask(out))["outcome"]["blob"])
    inner = recipient.decrypt(made[:384], OAEP)
    assert keywrap.aes_key_unwrap_with_padding(inner, made[384:]) == secret
    canaries.assert_nowhere(stack, secret)


def test_a_pair_comes_in_an_envelope_unless_everybody_has_it(stack, desks):
    erin, pair = desks[0], ec.generate_private_key(ec.SECP256R1())
    pair_terms = terms(KeyUsage.SIGN, Algorithm.EC_P256)
    item, key = brought(stack, ImportEnvelope(*pair_terms, "erin", der(pair.public_key()), None, 5))
    said = json.loads(b64decode(item["statement"]))
    to, ephemeral = load_der_public_key(b64decode(said["public_key"])), os.urandom(32)
    pkcs8 = pair.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    blob = keywrap.aes_key_wrap_with_padding(ephemeral, pkcs8)
    ok(erin.hand(item, erin.delivery(item, 1, to.encrypt(ephemeral, OAEP) + blob)))
    shown = stack.person("bob").client().get(f"/v1/keys/{key}/public-key?format=der")
    assert shown.content == der(pair.public_key())
    everybodys = make_gbcs.spki(make_gbcs.PUBLISHED)
    known = ImportEnvelope(*pair_terms, "erin", everybodys, None, 5)
    request = stack.ask(known, SCOPE)
    stack.approve(request, "bob", "carol")
    answer = stack.person("alice").client().post(f"/v1/requests/{request['id']}/executions")
    assert code(answer) == "published-key"


def test_the_signed_transcript_is_checked_with_openssl(stack, vault, desks, tmp_path):
    item, key = brought(stack, ImportComponents(*terms(), ("erin", "frank"), None, 5))
    body = {"reason": "only to see it"}
    ended = ok(desks[0].client.post(f"/v1/handovers/{key}/aborts", json=body))
    with vault.database.reading() as work:
        evidence = vault.authority(work).services.evidence
    (tmp_path / "key.der").write_bytes(evidence)
    (tmp_path / "signed").write_bytes(TRANSCRIPT_CONTEXT + b64decode(ended["transcript"]))
    (tmp_path / "signature").write_bytes(b64decode(ended["transcript_signature"]))
    line = ["openssl", "dgst", "-sha256", "-verify", "key.der", "-keyform", "DER"]
    line += ["-signature", "signature", "signed"]
    subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
    assert item


def test_an_assessor_finds_every_handover_approved_and_carried_out_as_approved(stack, desks):
    assert desks
    assert_evidence_holds(stack)
