"""The register held against the tokens: what differs is found, reported, signed and printed."""

import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID, uuid4

import pytest

from keyvault.domain.canonical import canonical
from keyvault.domain.reconciliation import CONTEXT
from keyvault.domain.times import text_of
from tests.flows.test_reconcile import Hand
from tests.stack import Stack, ok

PATH = "/v1/reconciliations"


@pytest.fixture
def hand(stack: Stack) -> Hand:
    return Hand(stack)


def taken(stack: Stack):
    return ok(stack.person("bob").client().post(PATH))


def found(report, key: UUID):
    return [
        one["drift"] for one in report["report"]["findings"] if one["key"] in (str(key), key.hex)
    ]


def signature(stack: Stack, report, signer: str, **changes):
    statement = {
        "ctx": CONTEXT,
        "origin": stack.settings.origin,
        "reconciliation": report["id"],
        "sha256": report["sha256"],
        "findings": report["findings"],
        "person": signer,
        "at": text_of(datetime.now(UTC)),
        **changes,
    }
    told = canonical(statement)
    signed = stack.person(signer).credential.sign(told)
    return {
        "statement": b64encode(told).decode(),
        "signature": b64encode(signed).decode(),
    }


def test_keys_of_every_kind_that_were_made_here_are_as_the_register_says(stack: Stack):
    made = [
        UUID(stack.order_key(**terms))
        for terms in (
            {"usage": "agree"},
            {"algorithm": "RSA-2048"},
            {"algorithm": "AES-256", "usage": "encrypt"},
            {"algorithm": "AES-256", "usage": "wrap"},
            {"key_class": "bulk"},
        )
    ]
    report = taken(stack)
    assert [found(report, key) for key in made] == [[]] * len(made)
    assert report["report"]["keys"] >= len(made)
    assert [one["reachable"] for one in report["report"]["tokens"]] == [True, True]
    assert sha256(canonical(report["report"])).hexdigest() == report["sha256"]


def test_what_differs_is_found_and_named_for_what_it_is(stack: Stack, hand: Hand):
    gone, half, changed = (UUID(stack.order_key()) for _ in range(3))
    stranger = uuid4()
    hand.remove(gone, "privkey", "pubkey")
    hand.remove(half, "pubkey")
    hand.remove(changed, "privkey", "pubkey")
    hand.make(changed)  # another key under its name, and not as keys are made here
    hand.make(stranger)
    report = taken(stack)
    assert found(report, gone) == ["missing"]
    assert found(report, half) == ["half-pair"]
    assert "changed" in found(report, changed)
    assert found(report, stranger) == ["unknown"]
    assert report["findings"] == len(report["report"]["findings"])
    health = ok(stack.person("bob").client().get("/v1/health/ready"))
    assert any("findings in the newest" in one["reason"] for one in health["checks"])
    hand.remove(stranger, "privkey", "pubkey")


def test_a_person_signs_what_they_were_shown_once_and_it_is_printed(stack: Stack):
    report = taken(stack)
    carol = stack.person("carol").client()
    path = f"{PATH}/{report['id']}"
    for change in ({"sha256": "0" * 64}, {"person": "bob"}, {"at": "2020-01-01T00:00:00Z"}):
        refused = carol.post(f"{path}/signatures", json=signature(stack, report, "carol", **change))
        assert (refused.status_code, refused.json()["code"]) == (422, "approval-invalid")
    forged = {**signature(stack, report, "carol")}
    forged["signature"] = signature(stack, report, "bob")["signature"]
    assert carol.post(f"{path}/signatures", json=forged).status_code == 422
    body = signature(stack, report, "carol")
    signed = ok(carol.post(f"{path}/signatures", json=body))["signed"]
    assert [one["person"] for one in signed] == ["carol"]
    assert json.loads(b64decode(signed[0]["statement"]))["sha256"] == report["sha256"]
    again = carol.post(f"{path}/signatures", json=signature(stack, report, "carol"))
    assert again.json()["detail"] == "you have signed this report already"
    page = carol.get(f"{path}/paper").text
    assert report["sha256"] in page.replace(" ", "")
    assert carol.get(f"{path}/paper", params={"format": "pdf"}).content.startswith(b"%PDF")


def test_who_has_no_business_with_tokens_takes_no_report(stack: Stack):
    refused = stack.person("alice").client().post(PATH)
    assert (refused.status_code, refused.json()["code"]) == (403, "not-permitted")
