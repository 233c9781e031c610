"""A key to agree with signs its own certification request at its birth, and never again."""

import os
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import Attribute
from pkcs11.exceptions import PKCS11Error

from hsm.device import Device
from hsm.errors import HsmError, KeyUnusableError
from hsm.pkcs11.spki import dump
from hsm.types import Algorithm, KeyUsage, Mechanism
from tests import devices
from tests.contract.conftest import Home, spec_of

pytestmark = pytest.mark.parametrize("name", ["softhsm", "nss"])
MESSAGE = b"what is to be signed"


def _born(home: Home, told: list[bytes]):
    def proof(spki: bytes) -> bytes:
        told.append(spki)
        return sha256(MESSAGE).digest()

    spec = spec_of(Algorithm.EC_P256, KeyUsage.AGREE)
    if not home.wrapped:
        return home.device.generate(spec, proof=proof)
    home.make(Algorithm.EC_P256, KeyUsage.AGREE)  # makes the KEK and the MAC key
    return home.device.generate_wrapped(spec, home.kek, home.mac_key, proof=proof)


def test_it_signs_once_and_is_then_for_agreement_alone(home: Home) -> None:
    assert home.can(Algorithm.EC_P256, KeyUsage.AGREE)
    told: list[bytes] = []
    made = _born(home, told)
    assert told == [made.public_key]
    half = len(made.proof) // 2
    r, s = (int.from_bytes(part) for part in (made.proof[:half], made.proof[half:]))
    public = load_der_public_key(made.public_key)
    public.verify(utils.encode_dss_signature(r, s), MESSAGE, ec.ECDSA(hashes.SHA256()))
    key = made.wrapped or made.spec.key_id
    peer = ec.generate_private_key(ec.SECP256R1())
    assert home.device.derive(key, dump(peer.public_key())) == peer.exchange(ec.ECDH(), public)
    with pytest.raises(KeyUnusableError):
        home.device.sign(key, Mechanism.ECDSA, sha256(MESSAGE).digest())


def test_on_the_token_lie_only_a_key_that_cannot_sign_and_its_public_half(device: Device) -> None:
    made = device.generate(spec_of(Algorithm.EC_P256, KeyUsage.AGREE), proof=lambda _: bytes(32))
    found = {each.object_class: each for each in device.find(made.spec.key_id)}
    assert sorted(found) == ["PRIVATE_KEY", "PUBLIC_KEY"]
    private = found["PRIVATE_KEY"].attributes
    assert (private["SIGN"], private["DERIVE"], private["MODIFIABLE"]) == (False, True, False)
    assert private["SENSITIVE"]
    assert not private["EXTRACTABLE"]
    assert made.attributes["SIGN"] is False
    assert device.inspect(made.spec).public_key == made.public_key


def test_who_has_the_login_cannot_make_it_sign_again(device: Device, name: str) -> None:
    made = device.generate(spec_of(Algorithm.EC_P256, KeyUsage.AGREE), proof=lambda _: bytes(32))
    secret = device._hold(made.spec.key_id).secret  # noqa: SLF001  (below the device, as an intruder)
    with pytest.raises(PKCS11Error):
        secret[Attribute.SIGN] = True
    if name == "softhsm":
        with pytest.raises(PKCS11Error):
            secret.copy({Attribute.SIGN: True})
    else:  # NSS copies whatever it has, with any use; docs/modules.md says so
        assert secret.copy({Attribute.SIGN: True, Attribute.TOKEN: False})[Attribute.SIGN]


def test_the_key_is_found_again_by_a_new_process(token: devices.Token, opened) -> None:
    first = opened(token)
    made = first.generate(spec_of(Algorithm.EC_P256, KeyUsage.AGREE), proof=lambda _: bytes(32))
    first.close()
    again = opened(token)
    assert again.public_key(made.spec.key_id) == made.public_key
    with pytest.raises(KeyUnusableError):
        again.sign(made.spec.key_id, Mechanism.ECDSA, bytes(32))


def test_only_a_key_to_agree_with_is_asked(device: Device) -> None:
    before = device.inventory()
    for algorithm, usage in (
        (Algorithm.EC_P256, KeyUsage.SIGN),
        (Algorithm.AES_256, KeyUsage.ENCRYPT),
    ):
        with pytest.raises(KeyUnusableError):
            device.generate(spec_of(algorithm, usage), proof=lambda _: bytes(32))
    assert device.inventory() == before


def test_nothing_is_left_where_the_proof_is_refused(device: Device) -> None:
    before = device.inventory()

    def refuse(_spki: bytes) -> bytes:
        raise ValueError("no request can be made for this key")

    with pytest.raises(ValueError, match="no request"):
        device.generate(spec_of(Algorithm.EC_P256, KeyUsage.AGREE), proof=refuse)
    with pytest.raises(HsmError):
        device.generate(spec_of(Algorithm.EC_P256, KeyUsage.AGREE), proof=lambda _: os.urandom(7))
    assert device.inventory() == before
