"""The same job on a PKCS#11 token: SoftHSM, in a process of its own for each question."""

from base64 import b64encode
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm import usb
from hsm.errors import CardForeignError, CardRemovedError, DataInvalidError
from hsm.modules import ask
from hsm.registry import list_tokens, open_device
from hsm.uri import Pkcs11Uri
from keyvault.domain.issuing import Standing
from keyvault.operations.personalising import keys_of, personalise
from tests import devices
from tests.cards.personalising import PIN, PUK, Here, new_job


@pytest.fixture
def module(tmp_path, monkeypatch):
    token = devices.softhsm(tmp_path, "service")
    monkeypatch.setenv("SOFTHSM2_CONF", token.environment["SOFTHSM2_CONF"])
    return devices.SOFTHSM


def _insert(house, carry):
    house.job = house.job.to(Standing.OPEN) if house.job.standing != "open" else house.job
    job = house.job
    driver = usb.Pkcs11Token(carry, job.token, usb.load(), lambda: house.secrets(job))
    return personalise(driver, job, house)


def _pulled_at(module, call, *, executed):
    """Pull the token at the first call of this kind."""

    def carry(asked):
        if asked["do"] != f"token-{call}":
            return usb.carry(module, asked)
        if executed:
            usb.carry(module, asked)
        raise CardRemovedError("pulled")

    return carry


def test_a_usb_token_that_is_pulled_again_and_again_comes_to_the_same_end(module):
    house = Here(replace(new_job(), kind="pkcs11").noting(plan={"9C": "EC-P256"}))
    for call, executed in (("take-over", True), ("load", False)):
        with pytest.raises(CardRemovedError):
            _insert(house, _pulled_at(module, call, executed=executed))
        assert house.job.standing is Standing.INTERRUPTED
    done = _insert(house, lambda asked: usb.carry(module, asked))
    assert (done.standing, house.signed) == (Standing.DONE, 1)
    (spki,) = keys_of(done).values()
    (record,) = [t for t in list_tokens(module) if t["label"] == done.token.hex]
    device = open_device(str(Pkcs11Uri(token=record["label"], module_path=module)), PIN)
    try:
        (key,) = {each.key_id for each in device.inventory() if each.object_class == "PRIVATE_KEY"}
        assert device.public_key(key) == spki
    finally:
        device.close()
    public = x509.load_der_x509_certificate(house.asked["9C"]).public_key()
    assert public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki
    check = {"do": "token-check", "label": done.token.hex, "makers": [], "path": module}
    assert ask({**check, "so_pin": b64encode(PUK).decode()}) == {"right": True}


def test_a_token_of_another_model_is_refused_with_what_was_found(module):
    house = Here(replace(new_job(), kind="pkcs11"))
    token = usb.Pkcs11Token(lambda call: usb.carry(module, call), house.job.token, [], lambda: None)
    with pytest.raises(CardForeignError, match="SoftHSM"):
        token.identify()


@pytest.mark.parametrize("call", [{"do": "initialise"}, {"do": "token-load", "path": "/tmp/x.so"}])
def test_a_desk_makes_no_other_call_and_loads_no_other_module(call):
    with pytest.raises(DataInvalidError, match="does not do"):
        usb.carry("/nowhere", call)
