"""The end of a key, in writing: signed, checked with openssl, true on the token."""

import json
import subprocess
from base64 import b64decode
from uuid import UUID, uuid4

import pytest

from hsm.types import VerifyPolicy
from keyvault.domain.canonical import canonical
from keyvault.domain.commands import SetKeyClass, SetRule
from keyvault.domain.custody import DESTRUCTION_CONTEXT
from keyvault.domain.errors import InvalidInputError, KeyStateError
from keyvault.domain.keys import KeyClass, Residence
from keyvault.domain.pem import armour
from keyvault.domain.people import Role
from keyvault.domain.rules import Rule
from tests.assessor import assert_evidence_holds
from tests.stack import Stack, ok


@pytest.mark.parametrize("key_class", ["standard", "bulk"])
def test_a_destroyed_key_has_a_certificate_that_openssl_verifies(stack, vault, tmp_path, key_class):
    bob, key = stack.person("bob").client(), stack.active_key(key_class=key_class)
    path = f"/v1/keys/{key}/destruction-certificate"
    assert bob.get(path).status_code == 404
    early = bob.post(path)
    assert (early.status_code, early.json()["code"]) == (409, "key-state")
    stack.change(key, "destructions")
    found = ok(bob.get(path))
    with vault.database.reading() as work:
        spki = vault.authority(work).services.evidence
    names = ("signed", "signature", "key.pem")
    parts = (b64decode(found["statement"]), b64decode(found["signature"]))
    for name, data in zip(names, (*parts, armour(spki, "PUBLIC KEY")), strict=True):
        (tmp_path / name).write_bytes(data)
    line = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature"]
    subprocess.run([*line, "signed"], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "signed").write_bytes(parts[0].replace(b"bob", b"eve"))
    changed = subprocess.run([*line, "signed"], cwd=tmp_path, check=False, capture_output=True)
    assert changed.returncode != 0
    assert UUID(key).bytes not in {one.key_id for one in vault.gate.inventory()}
    said = json.loads(parts[0].removeprefix(DESTRUCTION_CONTEXT))
    assert (said["key"], said["requester"], said["exported"]) == (key, "alice", [])
    assert {one["approver"] for one in said["approvals"]} == {"bob", "carol"}
    [copy] = said["copies"]
    what = {"standard": "objects", "bulk": "wrapped record"}[key_class]
    assert (copy["what"], copy.get("count", 2)) == (what, 2)  # both halves of a pair
    assert ok(bob.post(path)) == found  # there is one, and it stays as it is
    history = ok(bob.get(f"/v1/keys/{key}/history?limit=500"))["items"]
    told = [one["header"]["ty"] for one in history]
    assert told[-2:] == ["KEY.DESTROYED", "KEY.DESTRUCTION_CERTIFIED"]


def test_the_gate_signs_no_end_that_it_has_not_seen(stack: Stack, vault):
    key, gone = stack.active_key(), stack.active_key()
    stack.change(gone, "destructions")
    with vault.database.reading() as work:
        request = json.loads(
            work.custody.certificate(UUID(gone)).statement.removeprefix(DESTRUCTION_CONTEXT)
        )["request"]
    for wrong in (
        {"key": key, "request": request},  # destroyed was another
        {"key": key, "request": key},  # its order
        {"key": gone, "request": key},
    ):
        with pytest.raises(KeyStateError, match="redeemed no such request"):
            vault.gate.sign_destruction(canonical(wrong))
    for wrong in (b"{}", b"{ }", b"[]", canonical({"key": 1, "request": 2}), b"x" * 70_000):
        with pytest.raises(InvalidInputError):
            vault.gate.sign_destruction(wrong)


def test_a_whole_life_with_holds_and_a_compromise_is_evidence_that_holds(stack: Stack):
    bob, key = stack.person("bob").client(), stack.active_key()
    held = ok(bob.post(f"/v1/keys/{key}/holds", json={"kind": "legal", "reason": "court"}))
    body = {"key": key, "hold": held["id"], "reason": "settled"}
    wanted = {"command": "lift-hold", "parameters": body, "scope": None}
    stack.carry_out(ok(stack.person("alice").client().post("/v1/requests", json=wanted)))
    ok(bob.post(f"/v1/keys/{key}/compromises", json={"reason": "seen"}))
    stack.change(key, "destructions")
    assert_evidence_holds(stack)


def test_a_destruction_waits_as_its_rule_says_and_until_then_it_is_called_off(stack: Stack):
    name = f"slow-{uuid4().hex[:6]}"
    slow = KeyClass(name, Residence.RESIDENT, VerifyPolicy.SAMPLED)
    stack.carry_out(stack.ask(SetKeyClass(slow, "for a test"), by="bob"))
    rule = Rule(name, ("destroy-key",), (name,), (Role.KEY_APPROVER,), 2, 7_200, wait=3_600)
    stack.carry_out(stack.ask(SetRule(rule, "for a test"), by="bob"))
    alice, key = stack.person("alice").client(), stack.active_key(key_class=name)
    asked = ok(alice.post(f"/v1/keys/{key}/destructions", json={"reason": "its time is over"}))
    stack.approve(asked, "bob", "carol")
    path = f"/v1/requests/{asked['id']}"
    early = alice.post(f"{path}/executions")
    assert (early.status_code, early.json()["code"]) == (409, "request-state")
    assert "lets this be carried out from 20" in early.json()["detail"]
    ok(alice.post(f"{path}/cancellations", json={"reason": "needed after all"}))
    assert alice.post(f"{path}/executions").json()["code"] == "request-state"
    assert ok(alice.get(f"/v1/keys/{key}"))["state"] == "active"
