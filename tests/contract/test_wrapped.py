"""Keys that rest outside the token: nobody alters a record unseen, and few are held at a time."""

import os
from dataclasses import fields, replace

import pytest

from hsm.errors import (
    DataInvalidError,
    DeviceUnavailableError,
    HsmError,
    IntegrityError,
    KeyUnusableError,
)
from hsm.types import Algorithm, KeyUsage, Mechanism
from tests.contract.conftest import spec_of

A, M, U = Algorithm, Mechanism, KeyUsage
DIGEST = os.urandom(32)
pytestmark = pytest.mark.parametrize("name", ["softhsm", "nss"])


@pytest.fixture
def kek(device) -> bytes:
    return device.generate(spec_of(A.AES_256, U.WRAP, trusted=True)).spec.key_id


@pytest.fixture(params=[A.HMAC_SHA256, A.AES_256])
def mac_key(device, request) -> bytes:
    return device.generate(spec_of(request.param, U.MAC)).spec.key_id


def test_every_field_of_a_record_is_under_its_mac(device, kek, mac_key) -> None:
    one = device.generate_wrapped(spec_of(A.EC_P256, U.SIGN), kek, mac_key).wrapped
    two = device.generate_wrapped(spec_of(A.EC_P256, U.SIGN), kek, mac_key).wrapped
    for field in fields(one):
        changed = getattr(two, field.name)
        if changed == getattr(one, field.name):
            continue
        with pytest.raises(IntegrityError):
            device.sign(replace(one, **{field.name: changed}), M.ECDSA, DIGEST)
    for change in ({"usage": U.AGREE}, {"label": "x"}, {"algorithm": A.EC_P384}, {"trusted": True}):
        with pytest.raises(IntegrityError):
            device.sign(replace(one, spec=replace(one.spec, **change)), M.ECDSA, DIGEST)
    assert len(device.sign(one, M.ECDSA, DIGEST)) == 64


def test_a_record_cannot_name_another_kek_or_mac_key(device, kek, mac_key) -> None:
    made = device.generate_wrapped(spec_of(A.AES_256, U.ENCRYPT), kek, mac_key).wrapped
    other_kek = device.generate(spec_of(A.AES_256, U.WRAP)).spec.key_id
    other_mac = device.generate(spec_of(A.HMAC_SHA256, U.MAC)).spec.key_id
    for change in ({"kek_id": other_kek}, {"mac_key_id": other_mac}, {"kek_id": mac_key}):
        with pytest.raises((IntegrityError, KeyUnusableError)):
            device.encrypt(replace(made, **change), M.AES_GCM, b"text")


def test_a_blob_of_another_size_or_spoilt_is_refused(device, kek) -> None:
    made = device.generate(spec_of(A.AES_128, U.MAC, extractable=True))
    blob = device.wrap(kek, made.spec.key_id)
    spoilt = blob[:-1] + bytes([blob[-1] ^ 1])
    for bad in (spoilt, blob[:-8], b"", bytes(24), bytes(4096)):
        spec = spec_of(A.AES_128, U.MAC)
        with pytest.raises(DataInvalidError):
            device.unwrap(kek, bad, spec)
        assert device.find(spec.key_id) == []
    with pytest.raises(DataInvalidError):  # the blob holds 16 bytes, not 32
        device.unwrap(kek, blob, spec_of(A.AES_256, U.MAC))


def test_a_private_key_is_only_restored_beside_its_own_public_key(device, kek) -> None:
    made = device.generate(spec_of(A.EC_P256, U.SIGN, extractable=True))
    other = device.generate(spec_of(A.EC_P256, U.SIGN))
    blob = device.wrap(kek, made.spec.key_id)
    spec = spec_of(A.EC_P256, U.SIGN)
    for public in (other.public_key, b"", b"no key"):
        with pytest.raises(HsmError):
            device.unwrap(kek, blob, spec, public_key=public)
        assert device.find(spec.key_id) == []
    back = device.unwrap(kek, blob, spec, public_key=made.public_key)
    assert back.public_key == made.public_key
    assert {r.object_class for r in device.find(spec.key_id)} == {"PRIVATE_KEY", "PUBLIC_KEY"}
    assert back.attributes["EXTRACTABLE"] is False
    signature = device.sign(spec.key_id, M.ECDSA, DIGEST)
    assert device.verify(made.spec.key_id, M.ECDSA, DIGEST, signature)


def test_only_an_extractable_key_is_wrapped_and_only_by_a_kek(device, kek) -> None:
    stays = device.generate(spec_of(A.EC_P256, U.SIGN)).spec.key_id
    leaves = device.generate(spec_of(A.EC_P256, U.SIGN, extractable=True)).spec.key_id
    with pytest.raises(KeyUnusableError):
        device.wrap(kek, stays)
    with pytest.raises(KeyUnusableError):
        device.wrap(stays, leaves)
    assert len(device.wrap(kek, leaves)) > 64


def test_few_wrapped_keys_are_held_and_the_oldest_goes_first(token, opened) -> None:
    device = opened(token, cache_size=3)
    kek = device.generate(spec_of(A.AES_256, U.WRAP)).spec.key_id
    mac_key = device.generate(spec_of(A.HMAC_SHA256, U.MAC)).spec.key_id
    made = [
        device.generate_wrapped(spec_of(A.AES_128, U.ENCRYPT), kek, mac_key).wrapped
        for _ in range(5)
    ]
    assert device.unwraps == 5
    for key in made[2:]:  # still held
        device.encrypt(key, M.AES_GCM, b"text")
    assert device.unwraps == 5
    device.encrypt(made[0], M.AES_GCM, b"text")  # unwrapped again; the third is the oldest now
    device.encrypt(made[3], M.AES_GCM, b"text")
    assert device.unwraps == 6
    device.encrypt(made[2], M.AES_GCM, b"text")
    assert device.unwraps == 7


def test_an_evicted_or_dropped_key_leaves_the_memory_of_the_module(token, opened) -> None:
    device = opened(token, cache_size=3)
    kek = device.generate(spec_of(A.AES_256, U.WRAP)).spec.key_id
    mac_key = device.generate(spec_of(A.HMAC_SHA256, U.MAC)).spec.key_id
    before = session_keys(device)
    for _ in range(8):
        made = device.generate_wrapped(spec_of(A.AES_128, U.ENCRYPT), kek, mac_key)
    assert session_keys(device) - before == 3
    device.drop(made.spec.key_id)
    assert session_keys(device) - before == 2


def session_keys(device) -> int:
    from pkcs11 import Attribute, ObjectClass  # noqa: PLC0415 - the one raw look in this file

    wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.TOKEN: False}
    return len(list(device._session.get_objects(wanted)))  # noqa: SLF001 - asks the module itself


def test_a_wrapped_key_survives_its_session(token, opened) -> None:
    device = opened(token)
    kek = device.generate(spec_of(A.AES_256, U.WRAP)).spec.key_id
    mac_key = device.generate(spec_of(A.HMAC_SHA256, U.MAC)).spec.key_id
    made = device.generate_wrapped(spec_of(A.EC_P384, U.SIGN), kek, mac_key)
    device.close()
    with pytest.raises(DeviceUnavailableError):
        device.sign(made.wrapped, M.ECDSA, DIGEST)
    again = opened(token)
    assert again.public_key(made.wrapped) == made.public_key
    signature = again.sign(made.wrapped, M.ECDSA, DIGEST)
    assert again.verify(made.wrapped, M.ECDSA, DIGEST, signature)
    assert again.unwraps == 1
    assert again.find(made.spec.key_id) == []
