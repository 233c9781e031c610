"""The REST API over real mutual TLS, against the whole service."""

import hashlib
import re
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from tests.stack import ROOT, SCOPE, ok

DIGEST = hashlib.sha256(b"payload").digest()
BODY = {"digest": b64encode(DIGEST).decode()}


def test_a_system_signs_and_openssl_would_agree(dcc, signing_key):
    answer = ok(dcc.client().post(f"/v1/keys/{signing_key}/signatures", json=BODY))
    raw = b64decode(answer["signatures"][0])
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    pem = dcc.client().get(f"/v1/keys/{signing_key}/public-key").content
    load_pem_public_key(pem).verify(
        utils.encode_dss_signature(r, s), DIGEST, ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    )


def test_a_batch_is_signed_in_order_under_one_event(dcc, signing_key):
    digests = [hashlib.sha256(bytes([n])).digest() for n in range(20)]
    body = {"digests": [b64encode(digest).decode() for digest in digests]}
    answer = ok(dcc.client().post(f"/v1/keys/{signing_key}/signatures", json=body))
    for digest, signature in zip(body["digests"], answer["signatures"], strict=True):
        check = {"digest": digest, "signature": signature}
        verified = dcc.client().post(f"/v1/keys/{signing_key}/verifications", json=check)
        assert ok(verified) == {"valid": True}
    wrong = {"digest": body["digests"][0], "signature": answer["signatures"][1]}
    verified = dcc.client().post(f"/v1/keys/{signing_key}/verifications", json=wrong)
    assert ok(verified) == {"valid": False}


def test_the_event_of_a_signature_is_proved_to_stand_in_the_log(dcc, signing_key, auditor):
    event = ok(dcc.client().post(f"/v1/keys/{signing_key}/signatures", json=BODY))["event"]
    shown = ok(auditor.client().get(f"/v1/audit/events/{event['index']}"))
    leaf = b64decode(shown["leaf"])
    assert hashlib.sha256(b"\0" + leaf).hexdigest() == event["leaf_hash"] == shown["leaf_hash"]
    query = {"index": event["index"], "size": event["index"] + 1}
    ok(auditor.client().get("/v1/audit/proofs/inclusion", params=query))


def test_a_repeated_call_gives_the_same_signature_and_no_second_event(dcc, signing_key):
    headers = {"Idempotency-Key": str(uuid4())}
    path = f"/v1/keys/{signing_key}/signatures"
    first, again = (ok(dcc.client().post(path, json=BODY, headers=headers)) for _ in range(2))
    assert first == again
    other = {"digest": b64encode(bytes(32)).decode()}
    refused = dcc.client().post(path, json=other, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("terms", "verb", "body"),
    [
        ({"algorithm": "AES-256", "usage": "encrypt"}, "encryptions", {"plaintext": "AAAA"}),
        ({"algorithm": "AES-128", "usage": "mac"}, "macs", {"data": "AAAA"}),
    ],
)
def test_a_repeated_use_gives_the_same_result_and_no_second_event(stack, dcc, terms, verb, body):
    path = f"/v1/keys/{stack.active_key(**terms)}/{verb}"
    headers = {"Idempotency-Key": str(uuid4())}
    first, again = (ok(dcc.client().post(path, json=body, headers=headers)) for _ in range(2))
    assert first == again


def test_a_repeated_order_is_one_request(stack):
    headers = {"Idempotency-Key": str(uuid4())}
    body = {
        "scope": SCOPE,
        "label": "once",
        "algorithm": "EC-P256",
        "usage": "sign",
        "key_class": "standard",
        "protect_days": 1,
        "process_days": 1,
    }
    alice = stack.person("alice").client()
    first, again = (ok(alice.post("/v1/keys", json=body, headers=headers)) for _ in range(2))
    assert first == again


def test_aes_encrypts_decrypts_and_notices_what_was_changed(stack, dcc):
    key = stack.active_key(algorithm="AES-256", usage="encrypt")
    body = {"plaintext": b64encode(b"attack at dawn").decode(), "aad": b64encode(b"a").decode()}
    sealed = ok(dcc.client().post(f"/v1/keys/{key}/encryptions", json=body))["ciphertext"]
    back = {"ciphertext": sealed, "aad": body["aad"]}
    opened = ok(dcc.client().post(f"/v1/keys/{key}/decryptions", json=back))
    assert b64decode(opened["plaintext"]) == b"attack at dawn"
    changed = bytearray(b64decode(sealed))
    changed[-1] ^= 1
    back["ciphertext"] = b64encode(changed).decode()
    refused = dcc.client().post(f"/v1/keys/{key}/decryptions", json=back)
    assert (refused.status_code, refused.json()["code"]) == (422, "hsm-data-invalid")


def test_a_mac_key_macs(stack, dcc):
    key = stack.active_key(algorithm="HMAC-SHA-256", usage="mac")
    answer = ok(dcc.client().post(f"/v1/keys/{key}/macs", json={"data": "AAAA"}))
    assert len(b64decode(answer["mac"])) == 32


def test_many_texts_are_encrypted_in_one_call_each_by_an_iv_of_its_own(stack, dcc, auditor):
    key, client = stack.active_key(algorithm="AES-256", usage="encrypt"), dcc.client()
    texts = [b"first", b"", b"third" * 300]
    body = {"plaintexts": [b64encode(text).decode() for text in texts], "aad": "YQ=="}
    made = ok(client.post(f"/v1/keys/{key}/encryptions", json=body))
    assert len({b64decode(sealed)[:12] for sealed in made["ciphertexts"]}) == len(texts)
    for sealed, text in zip(made["ciphertexts"], texts, strict=True):
        back = {"ciphertext": sealed, "aad": "YQ=="}
        opened = ok(client.post(f"/v1/keys/{key}/decryptions", json=back))
        assert b64decode(opened["plaintext"]) == text
    told = ok(auditor.client().get(f"/v1/audit/events/{made['event']['index']}"))["payload"]
    assert told["count"] == len(texts)
    assert [one["digest"] for one in told["details"]] == [
        hashlib.sha256(t).hexdigest() for t in texts
    ]


def test_many_messages_get_the_macs_that_they_get_one_by_one(stack, dcc):
    key, client = stack.active_key(algorithm="AES-128", usage="mac"), dcc.client()
    items, path = ["AAAA", "", "AQID"], f"/v1/keys/{key}/macs"
    together = ok(client.post(path, json={"items": items}))["macs"]
    assert together == [ok(client.post(path, json={"data": item}))["mac"] for item in items]
    for body in ({"items": items, "data": "AAAA"}, {"items": items, "iv": "AAAAAAAAAAAAAAAA"}, {}):
        refused = client.post(path, json=body)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")


def test_random_bytes_are_as_many_as_were_asked_for(dcc):
    drawn = [
        b64decode(ok(dcc.client().post("/v1/random", json={"size": 64}))["bytes"]) for _ in "ab"
    ]
    assert len(drawn[0]) == 64
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("algorithm", ["EC-P256", "EC-P384", "RSA-2048", "Ed25519"])
def test_a_public_key_is_the_same_in_every_form(stack, algorithm):
    key = stack.order_key(algorithm=algorithm)
    alice = stack.person("alice").client()
    path = f"/v1/keys/{key}/public-key"
    pem = alice.get(path).content
    der = alice.get(path, params={"format": "der"}).content
    assert load_pem_public_key(pem) == load_der_public_key(der)
    assert b64decode(ok(alice.get(f"/v1/keys/{key}"))["public_key"]) == der
    jwk = alice.get(path, params={"format": "jwk"})
    assert jwk.headers["content-type"] == "application/jwk+json"
    assert jwk.json()["kty"] in {"EC", "RSA", "OKP"}


def test_a_secret_key_has_no_public_form(stack):
    key = stack.order_key(algorithm="AES-128", usage="encrypt")
    refused = stack.person("alice").client().get(f"/v1/keys/{key}/public-key")
    assert (refused.status_code, refused.json()["code"]) == (404, "not-found")


def test_a_suspended_key_signs_nothing_until_it_is_resumed(stack, dcc):
    key = stack.active_key()
    path, body = f"/v1/keys/{key}/signatures", BODY
    ok(dcc.client().post(path, json=body))
    suspended = (
        stack.person("bob")
        .client()
        .post(f"/v1/keys/{key}/suspensions", json={"reason": "for a test"})
    )
    assert ok(suspended)["state"] == "suspended"
    refused = dcc.client().post(path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "key-state")
    stack.change(key, "resumptions")
    ok(dcc.client().post(path, json=body))


def test_one_approval_is_not_enough_and_the_requester_s_own_does_not_count(stack):
    request = stack.order()
    alice = stack.person("alice")
    own = alice.decide(request)
    assert (own.status_code, own.json()["code"]) == (422, "approval-invalid")
    stack.approve(request, "bob")
    early = alice.client().post(f"/v1/requests/{request['id']}/executions")
    assert (early.status_code, early.json()["code"]) == (409, "quorum")
    stack.approve(request, "carol")
    done = ok(alice.client().post(f"/v1/requests/{request['id']}/executions"))
    assert done["request"]["state"] == "done"
    assert done["outcome"]["key"] == request["id"]


def test_an_approval_of_something_else_is_refused(stack):
    request, other = stack.order(), stack.order()
    bob = stack.person("bob")
    refused = bob.client().post(f"/v1/requests/{request['id']}/approvals", json=bob.approval(other))
    assert (refused.status_code, refused.json()["code"]) == (422, "approval-invalid")


def test_a_cancelled_request_is_over(stack):
    request = stack.order()
    path = f"/v1/requests/{request['id']}"
    alice = stack.person("alice").client()
    cancelled = ok(alice.post(f"{path}/cancellations", json={"reason": "a mistake"}))
    assert cancelled["state"] == "cancelled"
    late = stack.person("bob").decide(request)
    assert (late.status_code, late.json()["code"]) == (409, "request-state")


def test_lists_are_paged_to_the_end_and_filtered(stack):
    alice = stack.person("alice").client()
    for _ in range(3):
        stack.order()
    seen, after = [], None
    while True:
        query = {"limit": 2, "state": "requested"} | ({"after": after} if after else {})
        page = ok(alice.get("/v1/requests", params=query))
        seen += [item["id"] for item in page["items"]]
        assert len(page["items"]) <= 2
        if (after := page["next"]) is None:
            break
    assert len(seen) == len(set(seen)) >= 3


def test_a_system_sees_the_keys_of_its_own_scope_only(stack, dcc, signing_key):
    other = {**SCOPE, "user_role": "GS"}
    hidden = stack.order_key(scope=other)
    keys = {item["id"] for item in ok(dcc.client().get("/v1/keys", params={"limit": 500}))["items"]}
    assert signing_key in keys
    assert hidden not in keys
    for path in (f"/v1/keys/{hidden}", f"/v1/keys/{hidden}/public-key"):
        assert dcc.client().get(path).status_code == 404
    refused = dcc.client().post(f"/v1/keys/{hidden}/signatures", json=BODY)
    assert refused.status_code == 404


def test_a_key_s_history_tells_its_life(stack, signing_key):
    page = ok(stack.person("alice").client().get(f"/v1/keys/{signing_key}/history"))
    types = [(item["header"]["ty"], item["header"]["out"]) for item in page["items"]]
    generated = ("KEY.GENERATED", "intent"), ("KEY.GENERATED", "ok")
    assert types[:3] == [("KEY.REQUESTED", "ok"), *generated]
    assert ("KEY.ACTIVATED", "ok") in types
    numbers = [item["header"]["ks"] for item in page["items"]]
    assert numbers == list(range(len(numbers)))


def test_evidence_is_a_zip_with_its_own_verifier(auditor):
    answer = auditor.client().post("/v1/audit/exports", json={"type": "KEY.GENERATED"})
    assert answer.headers["content-type"] == "application/zip"
    assert answer.content[:2] == b"PK"
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.usefixtures("dcc")
def test_people_systems_and_authority_are_shown(stack):
    alice = stack.person("alice").client()
    assert {"alice", "bob", "carol"} <= {p["id"] for p in ok(alice.get("/v1/people"))["items"]}
    assert "dcc-1" in {s["id"] for s in ok(alice.get("/v1/systems"))["items"]}
    records = ok(alice.get("/v1/authority"))["items"]
    assert [record["seq"] for record in records] == list(range(len(records)))


def test_everybody_learns_who_they_are(stack, dcc):
    alice = ok(stack.person("alice").client().get("/v1/whoami"))
    assert (alice["actor"], alice["kind"], alice["scope"]) == ("person:alice", "person", None)
    machine = ok(dcc.client().get("/v1/whoami"))
    assert (machine["actor"], machine["scope"]) == ("system:dcc-1", SCOPE)


def test_metrics_count_answers_keys_and_the_log(dcc, signing_key):
    ok(dcc.client().post(f"/v1/keys/{signing_key}/signatures", json=BODY))
    text = dcc.client().get("/metrics").text
    assert 'keyvault_keys{state="active"}' in text
    assert "keyvault_gate_up 1.0" in text
    assert 'keyvault_gate_worker_up{worker="1"} 1.0' in text
    assert 'route="/v1/keys/{key_id}/signatures"' in text
    assert ":id}" not in text  # whichever way a call came, its route has one name


def test_ready_tells_reasons_to_known_callers_only(stack):
    anonymous = ok(stack.client().get("/v1/health/ready"))
    known = ok(stack.person("alice").client().get("/v1/health/ready"))
    assert [c["name"] for c in anonymous["checks"]] == [c["name"] for c in known["checks"]]
    assert anonymous["ready"] is True


def test_the_description_is_for_known_callers(stack):
    assert stack.client().get("/openapi.json").status_code == 401
    assert ok(stack.person("alice").client().get("/openapi.json"))["openapi"].startswith("3.1")


def test_the_program_on_the_page_for_clients_signs_and_openssl_agrees(
    stack, dcc, signing_key, tmp_path
):
    page = (ROOT / "docs/api.md").read_text()
    [program] = re.findall(r"(?ms)^```python\n(.*?)^```", page)
    [verify] = re.findall(r"(?m)^openssl dgst .*$", page)
    (tmp_path / "client.py").write_text(program)
    (tmp_path / "payload.bin").write_bytes(b"a command to a meter")
    public = dcc.client().get(f"/v1/keys/{signing_key}/public-key").content
    (tmp_path / "public-key.pem").write_bytes(public)
    given = {"client.pem": dcc.certificate, "client.key": dcc.key, "server.pem": stack.ca}
    for name, file in given.items():
        shutil.copy(file, tmp_path / name)
    call = [sys.executable, "client.py", stack.url, signing_key, "payload.bin"]
    assert b"of the log says so" in subprocess.check_output(call, cwd=tmp_path)
    assert subprocess.check_output(verify.split(), cwd=tmp_path) == b"Verified OK\n"


def test_an_unknown_path_or_method_says_where_the_known_ones_are(dcc):
    for answer in (dcc.client().get("/v1/kes"), dcc.client().delete("/v1/keys")):
        assert answer.json()["next_step"] == "compare the call with /openapi.json"
