"""The gate signs certification requests that it has made itself, and no others."""

import os
from uuid import UUID

import pytest

from hsm.errors import KeyUnusableError
from hsm.types import Algorithm, KeyUsage
from keyvault.domain import csr
from keyvault.domain.commands import DestroyKey
from keyvault.domain.errors import InvalidInputError, NotPermittedError
from keyvault.domain.keys import service_key_id
from keyvault.domain.profiles import PROFILES, ProfileName
from keyvault.domain.scopes import Scope
from keyvault.gate.documents import wrapped_of
from keyvault.signatures import verify_x509
from tests.gate.house import do, order

SCOPE = Scope("ACME", "IS", "90-B3-D5-1F-30-01-00-00")
SMKI, IKI = ProfileName.SMKI_ORGANISATION, ProfileName.IKI_CLIENT


def asked(made, profile=SMKI, interface="", system=""):
    wrapped = made["wrapped"] and wrapped_of(made["wrapped"])
    item = {"key_id": made["key_id"], "profile": str(profile), "wrapped": wrapped}
    return {**item, "interface": interface, "system": system}


def judged(answer):
    report = csr.lint(answer["csr"], verify_x509)
    assert report.violations == ()
    return report.check()


@pytest.mark.parametrize("key_class", ["standard", "bulk"])
@pytest.mark.parametrize(("usage", "bit"), [(KeyUsage.SIGN, 0), (KeyUsage.AGREE, 4)])
def test_a_request_says_what_the_order_of_the_key_says(gate, key_class, usage, bit) -> None:
    made = do(gate, order(usage=usage, key_class=key_class), scope=SCOPE)
    [answer] = gate.certification_requests([asked(made)])
    found = judged(answer)
    assert found.spki == made["public_key"]
    assert found.usages() == {bit}
    terms = csr.Terms(PROFILES[SMKI], SCOPE, usage)
    assert found.subject == terms.subject()


def test_a_key_to_agree_with_has_one_request_for_ever(gate) -> None:
    made = do(gate, order(usage=KeyUsage.AGREE), scope=SCOPE)
    first, second = (gate.certification_requests([asked(made)])[0]["csr"] for _ in range(2))
    assert first == second
    made = do(gate, order(), scope=SCOPE)
    first, second = (gate.certification_requests([asked(made)])[0]["csr"] for _ in range(2))
    assert first != second  # ECDSA draws a new number for each signature


def test_an_interface_gets_a_request_of_its_own_kind(gate) -> None:
    made = do(gate, order(Algorithm.RSA_2048), scope=SCOPE)
    [answer] = gate.certification_requests([asked(made, IKI, "ad-hoc-device-csr", "head-end.1")])
    assert judged(answer).usages() == {0}


def test_what_does_not_fit_is_refused_by_its_own_code_and_the_others_go_on(gate) -> None:
    rsa = do(gate, order(Algorithm.RSA_2048), scope=SCOPE)
    good = do(gate, order(), scope=SCOPE)
    nowhere = do(gate, order(), scope=Scope("ACME", "IS", "no-eui"))
    nobody = do(gate, order(), scope=Scope("ACME", "caretaker", SCOPE.user_id))
    answers = gate.certification_requests(
        [
            asked(rsa),
            asked(rsa, IKI, "front-door", "a"),
            asked(rsa, IKI, "ad-hoc-device-csr", "a b"),
            asked(nowhere),
            asked(nobody),
            asked(good, "free-text"),
            asked(good | {"key_id": os.urandom(16)}),
            asked(good),
        ]
    )
    codes = [answer.get("message", "").partition(":")[0] for answer in answers]
    assert codes[:5] == [
        *("csr-key-algorithm", "csr-interface", "csr-system-name", "csr-eui", "csr-role-unknown"),
    ]
    assert [answer.get("code") for answer in answers[5:]] == [
        *("invalid-input", "hsm-key-unusable", None),
    ]


def test_a_key_that_was_destroyed_asks_for_nothing(gate) -> None:
    made = do(gate, order(usage=KeyUsage.AGREE, key_class="bulk"), scope=SCOPE)
    do(gate, DestroyKey(UUID(bytes=made["key_id"]), "for a test"), scope=SCOPE)
    [answer] = gate.certification_requests([asked(made | {"wrapped": None})])
    assert answer["code"] == KeyUnusableError.code


def test_a_service_key_asks_for_nothing(gate) -> None:
    item = asked({"key_id": service_key_id("evidence"), "wrapped": None})
    with pytest.raises(NotPermittedError):
        gate.certification_requests([item])


def test_a_key_to_agree_with_of_a_scope_without_certificates_has_no_request(gate) -> None:
    made = do(gate, order(usage=KeyUsage.AGREE), scope=Scope("ACME", "IS", "no-eui"))
    [answer] = gate.certification_requests([asked(made)])
    assert answer["code"] == KeyUnusableError.code


def test_no_more_than_a_few_are_made_at_once(gate) -> None:
    item = asked({"key_id": os.urandom(16), "wrapped": None})
    assert len(gate.certification_requests([item] * 64)) == 64
    for count in (0, 65):
        with pytest.raises(InvalidInputError):
            gate.certification_requests([item] * count)


def test_a_wrapped_key_s_request_needs_no_other_use_of_it_first(own) -> None:
    own.start()
    gate = own.gate()
    made = do(gate, order(key_class="bulk"), scope=SCOPE)
    own.stop()
    own.start()
    [answer] = own.gate().certification_requests([asked(made)])
    assert judged(answer).spki == wrapped_of(made["wrapped"]).public_key
