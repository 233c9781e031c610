"""From request to certificate in use, on each database, before an authority of the test's own."""

import subprocess
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from keyvault.domain.access import Principal
from keyvault.domain.errors import SubmissionLimitError
from keyvault.operations import certificates, expiry
from keyvault.operations.certificates import Which
from keyvault.operations.csr import GATE_CHUNK
from keyvault.settings import CertificateSettings
from tests.authority import changed, usage
from tests.certifying import PATH, REASON, accept, answer, believed, build, submitted
from tests.stack import SCOPE, Stack, ok

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def bob(stack):
    """A custodian."""
    return stack.person("bob").client()


@pytest.fixture(scope="module")
def authority(bob):
    return believed(bob)


def events(stack: Stack, key: str) -> list[str]:
    page = ok(stack.person("bob").client().get(f"/v1/keys/{key}/history?limit=500"))
    return [f"{each['header']['ty']} {each['header']['out']}" for each in page["items"]]


@pytest.mark.parametrize("terms", [{}, {"usage": "agree"}, {"key_class": "bulk"}])
def test_a_key_s_certificate_goes_from_request_to_use(stack, bob, authority, terms) -> None:
    key = stack.order_key(**terms)
    one, request = submitted(bob, key)
    verify = ["openssl", "req", "-verify", "-noout", "-inform", "DER"]
    assert subprocess.run(verify, input=request, capture_output=True, check=True)
    refused = stack.person("alice").client().post(f"/v1/keys/{key}/activations", json=REASON)
    assert (refused.status_code, refused.json()["code"]) == (409, "certificate-pending")
    certificate = authority.issue(request)
    [taken] = answer(bob, certificate)
    assert (taken["result"], taken["certificate"]["state"]) == ("issued", "issued")
    assert answer(bob, certificate)[0]["result"] == "repeated"
    assert accept(bob, one)["state"] == "accepted"
    stack.change(key, "activations")
    shown = ok(bob.get(f"{PATH}/{one}"))
    assert (shown["state"], b64decode(shown["certificate"])) == ("in-use", certificate)
    assert shown["serial"] == f"{x509.load_der_x509_certificate(certificate).serial_number:X}"
    told = events(stack, key)
    assert [each for each in told if each.startswith("C")] == [
        *("CSR.BUILT ok", "CSR.SUBMITTED ok", "CERT.RECEIVED ok", "CERT.ACCEPTED ok"),
    ]


def wrongs(request: bytes):
    subject = x509.load_der_x509_csr(request).subject
    now = datetime.now(UTC)
    role, uid = NameOID.ORGANIZATIONAL_UNIT_NAME, x509.ObjectIdentifier("2.5.4.45")
    return {
        "role": {"subject": changed(subject, role, "03")},
        "eui": {"subject": changed(subject, uid, bytes(9))},
        "subject": {"subject": changed(subject, NameOID.ORGANIZATION_NAME, "ACNE")},
        "usage": {"extensions": [(usage("key_agreement"), True)]},
        "usage-critical": {"extensions": [(usage("digital_signature"), False)]},
        "validity": {"not_before": now - 2 * DAY, "not_after": now - DAY},
    }


def test_what_differs_is_rejected_at_once_and_the_request_may_be_sent_again(
    stack, bob, authority
) -> None:
    key = stack.order_key()
    one, request = submitted(bob, key)
    for field, change in wrongs(request).items():
        [taken] = answer(bob, authority.issue(request, **change))
        assert taken["result"] == "rejected", field
        assert [each["field"] for each in taken["mismatches"]] == [field]
        assert taken["certificate"]["state"] == "rejected"
        refused = bob.post(f"{PATH}/acceptances", json={"certificates": [one], **REASON})
        assert refused.json()["code"] == "certificate-state"
        blocked = stack.person("alice").client().post(f"/v1/keys/{key}/activations", json=REASON)
        assert blocked.json()["code"] == "certificate-pending"
        ok(bob.post(f"{PATH}/submissions", json={"certificates": [one], "reference": "SD-2"}))
    assert events(stack, key).count("CERT.REJECTED refused") == len(wrongs(request))
    assert answer(bob, authority.issue(request))[0]["result"] == "issued"


def test_a_batch_is_built_submitted_and_counted(stack, bob, authority) -> None:
    keys = [stack.order_key(key_class="bulk") for _ in range(3)]
    rsa = stack.order_key(algorithm="RSA-2048")
    batch = str(uuid4())
    built = build(bob, *keys, rsa, str(uuid4()), batch=batch)
    assert [each["status"] for each in built] == ["success"] * 3 + ["ineligible"] * 2
    assert [each["code"] for each in built[3:]] == ["csr-refused", "not-found"]
    assert len(built) < GATE_CHUNK
    ids = [each["certificate"]["id"] for each in built[:3]]
    page = ok(bob.get(f"{PATH}/batches/{batch}/requests?limit=2"))
    rest = ok(bob.get(f"{PATH}/batches/{batch}/requests?limit=2&after={page['next']}"))
    found = [each["id"] for each in page["items"] + rest["items"]]
    assert (sorted(found), rest["next"]) == (sorted(ids), None)
    moved = ok(bob.post(f"{PATH}/submissions", json={"batch": batch, "reference": "SD-3"}))
    assert (len(moved["items"]), moved["left"]) == (3, 0)
    csrs = [b64decode(each["certificate"]["csr"]) for each in built[:3]]
    assert {t["result"] for t in answer(bob, *map(authority.issue, csrs))} == {"issued"}
    moved = ok(bob.post(f"{PATH}/acceptances", json={"batch": batch, **REASON}))
    assert ok(bob.get(f"{PATH}/batches/{batch}"))["states"] == {"accepted": 3}
    assert len(moved["items"]) == 3


def test_the_authority_gets_no_more_than_it_takes_and_what_is_refused_stays_as_it_was(
    stack, bob, vault
) -> None:
    built = build(bob, stack.order_key(), stack.order_key())
    first, second = (UUID(each["certificate"]["id"]) for each in built)
    body = {"certificates": [str(first)], "reference": "SD-5"}
    [pace] = ok(bob.post(f"{PATH}/submissions", json=body))["pace"]
    assert pace["party"] == SCOPE["party"]
    assert 0 < pace["alone_left"] < 150
    rules = CertificateSettings(alone_a_day=1)
    vault.settings = vault.settings.model_copy(update={"certificates": rules})
    with vault.database.reading() as work:
        person = vault.authority(work).people["bob"]
    who = Principal(person, datetime.now(UTC) + DAY, "00")
    with pytest.raises(SubmissionLimitError, match="may send 1 requests a day"):
        certificates.submit(vault, who, Which((second,)), "SD-6")
    assert ok(bob.get(f"{PATH}/{second}"))["state"] == "csr-built"


def test_what_nobody_decides_on_becomes_overdue_and_what_ends_is_expired(
    stack, bob, authority, vault
) -> None:
    one, request = submitted(bob, stack.order_key())
    answer(bob, authority.issue(request))
    other, request = submitted(bob, stack.order_key())
    answer(bob, authority.issue(request, not_after=datetime.now(UTC) + 20 * DAY))
    accept(bob, other)
    soon = [each["id"] for each in ok(bob.get(f"{PATH}/ending?within=30"))["items"]]
    assert other in soon
    assert one not in soon
    assert "end within 30 days" in expiry.remark(vault)
    clock = vault.clock
    vault.clock = lambda: clock() + timedelta(hours=20)
    assert "accepted or rejected soon" in expiry.remark(vault)
    vault.clock = lambda: clock() + 21 * DAY
    while expiry.sweep(vault):
        pass
    assert "overdue" in expiry.remark(vault)
    shown = ok(bob.get(f"{PATH}/{one}"))
    assert (shown["state"], shown["overdue"]) == ("issued", True)
    assert ok(bob.get(f"{PATH}/{other}"))["state"] == "expired"
    assert accept(bob, one)["state"] == "accepted"
