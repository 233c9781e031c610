"""Keys that people carry in and out of a device: components and envelopes, judged by OpenSSL."""

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm.device import Device
from hsm.errors import DataInvalidError, KeyNotFoundError, KeyUnusableError
from hsm.pkcs11.envelopes import unpadded
from hsm.types import Algorithm, CheckValues, KeyUsage, Mechanism
from tests.contract.conftest import spec_of

A, U = Algorithm, KeyUsage
SIZES = {A.AES_128: 16, A.AES_192: 24, A.AES_256: 32}
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
# Which modules XOR by themselves. p11-kit's wire has no AES at all, so nothing is carried there.
IN_MODULE = {"softhsm": False, "nss": True}
over_modules = pytest.mark.parametrize("name", IN_MODULE)


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(
        ["openssl", *arguments], input=data, capture_output=True, check=True
    ).stdout


def check_values(key: bytes) -> CheckValues:
    """What OpenSSL says."""
    name, zeros = f"aes-{8 * len(key)}", bytes(16)
    ecb = openssl("enc", f"-{name}-ecb", "-K", key.hex(), "-nopad", data=zeros)
    how = ("-cipher", f"{name}-cbc".upper(), "-macopt", f"hexkey:{key.hex()}", "-binary")
    cmac = openssl("mac", *how, "-in", "/dev/stdin", "CMAC", data=zeros)
    return CheckValues(cmac[:3].hex(), ecb[:3].hex())


def xor(*parts: bytes) -> bytes:
    whole = bytes(len(parts[0]))
    for part in parts:
        whole = bytes(a ^ b for a, b in zip(whole, part, strict=True))
    return whole


def accept(_: CheckValues) -> None:
    """Let any key in."""


def refuse(_: CheckValues) -> None:
    raise DataInvalidError("another key was expected")


def objects(device: Device) -> int:
    return len(device.inventory())


@over_modules
@pytest.mark.parametrize(
    ("algorithm", "usage", "count"),
    [
        (A.AES_128, U.MAC, 2),
        (A.AES_192, U.ENCRYPT, 3),
        (A.AES_256, U.WRAP, 3),
        (A.AES_256, U.GMAC, 2),
    ],
)
def test_components_make_the_key_that_openssl_knows(
    name: str, device: Device, algorithm: Algorithm, usage: KeyUsage, count: int
) -> None:
    parts = [os.urandom(SIZES[algorithm]) for _ in range(count)]
    given_parts = [bytearray(part) for part in parts]
    spec = spec_of(algorithm, usage)
    carried = device.combine(spec, [lambda p=p: p for p in given_parts], accept)  # type: ignore[misc]  # each its own
    assert carried.check == check_values(xor(*parts))
    assert carried.in_module is IN_MODULE[name]
    assert not any(map(any, given_parts)), "a component was not overwritten"
    assert [record.object_class for record in device.find(spec.key_id)] == ["SECRET_KEY"]
    if usage is U.MAC:
        mac = device.mac(spec.key_id, Mechanism.AES_CMAC, bytes(16))
        assert mac[:3].hex() == carried.check.cmac == carried.made.check_value


@over_modules
def test_what_is_refused_or_ill_made_leaves_nothing_on_the_token(name: str, device: Device) -> None:
    before, good = objects(device), bytearray(os.urandom(32))
    spec = spec_of(A.AES_256, U.ENCRYPT)
    with pytest.raises(DataInvalidError, match="another key"):
        device.combine(spec, [lambda: good, lambda: bytearray(32)], refuse)
    with pytest.raises(DataInvalidError, match="size"):
        device.combine(spec, [lambda: bytearray(32), lambda: bytearray(16)], accept)
    assert objects(device) == before, name
    assert not any(good)


@over_modules
@pytest.mark.parametrize("count", [2, 3])
def test_a_key_is_taken_apart_and_put_together_again(name: str, device: Device, count: int) -> None:
    spec = spec_of(A.AES_256, U.MAC, extractable=True)
    made = device.generate(spec)
    parts, check = device.split(spec.key_id, count)
    whole = xor(*map(bytes, parts))
    assert len(parts) == count
    assert check == check_values(whole), name
    assert check.cmac == made.check_value
    again = spec_of(A.AES_256, U.MAC)
    device.combine(again, [lambda p=p: p for p in parts], accept)  # type: ignore[misc]  # each its own
    tags = [device.mac(key, Mechanism.AES_CMAC, b"x") for key in (spec.key_id, again.key_id)]
    assert tags[0] == tags[1]


@over_modules
def test_a_key_that_may_not_leave_leaves_in_no_way(name: str, device: Device) -> None:
    kept = device.generate(spec_of(A.AES_256, U.MAC)).spec.key_id
    recipient = rsa.generate_private_key(65537, 2048).public_key()
    with pytest.raises(KeyUnusableError):
        device.split(kept, 2)
    with pytest.raises(KeyUnusableError):
        device.seal_envelope(kept, der(recipient))
    assert device.find(kept), name


def der(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@over_modules
def test_an_envelope_made_by_openssl_opens_and_only_in_its_own_handover(
    name: str, device: Device, tmp_path: Path
) -> None:
    before, transport, key = objects(device), os.urandom(16), os.urandom(32)
    spki = device.open_transport(transport, A.RSA_3072)
    envelope = by_openssl(spki, key, tmp_path)
    spec = spec_of(A.AES_256, U.ENCRYPT)
    carried = device.open_envelope(transport, envelope, spec, accept)
    assert carried.check == check_values(key), name
    for bad in (envelope[:-1], envelope[:400], bytes(len(envelope)), envelope[::-1]):
        with pytest.raises(DataInvalidError):
            device.open_envelope(transport, bad, spec_of(A.AES_256, U.ENCRYPT), accept)
    with pytest.raises(DataInvalidError, match="another key"):
        device.open_envelope(transport, envelope, spec_of(A.AES_256, U.MAC), refuse)
    assert objects(device) == before + 1
    device.close_transport(transport)
    with pytest.raises(KeyNotFoundError):
        device.open_envelope(transport, envelope, spec_of(A.AES_256, U.MAC), accept)


def by_openssl(spki: bytes, key: bytes, folder: Path) -> bytes:
    """An envelope as a sender without any software of ours makes it."""
    public, ephemeral = folder / "public.der", os.urandom(32)
    public.write_bytes(spki)
    oaep = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256")
    options = [word for option in oaep for word in ("-pkeyopt", option)]
    to = ("-pubin", "-keyform", "DER", "-inkey", str(public))
    sealed = openssl("pkeyutl", "-encrypt", *to, *options, data=ephemeral)
    kwp = ("-id-aes256-wrap-pad", "-K", ephemeral.hex(), "-iv", "A65959A6")
    return sealed + openssl("enc", *kwp, data=key)


@over_modules
def test_the_envelope_of_a_key_opens_with_its_recipients_key(name: str, device: Device) -> None:
    recipient = rsa.generate_private_key(65537, 2048)
    spec = spec_of(A.AES_256, U.MAC, extractable=True)
    made = device.generate(spec)
    envelope = device.seal_envelope(spec.key_id, der(recipient.public_key()))
    ephemeral = recipient.decrypt(envelope[:256], OAEP)
    key = keywrap.aes_key_unwrap_with_padding(ephemeral, envelope[256:])
    assert check_values(key).cmac == made.check_value, name
    with pytest.raises(DataInvalidError):
        device.seal_envelope(spec.key_id, der(ec.generate_private_key(ec.SECP256R1()).public_key()))


@over_modules
def test_a_pair_comes_in_an_envelope_and_is_held_against_its_public_half(
    name: str, device: Device
) -> None:
    transport, pair = os.urandom(16), ec.generate_private_key(ec.SECP256R1())
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    to = load_der_public_key(device.open_transport(transport, A.RSA_2048))
    assert isinstance(to, rsa.RSAPublicKey), name
    pkcs8 = pair.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    ephemeral = os.urandom(32)
    envelope = to.encrypt(ephemeral, OAEP) + keywrap.aes_key_wrap_with_padding(ephemeral, pkcs8)
    before = objects(device)
    with pytest.raises(Exception, match=r"pairwise|public"):
        device.open_envelope(
            transport, envelope, spec_of(A.EC_P256, U.SIGN), accept, public_key=der(other)
        )
    assert objects(device) == before
    spec, own = spec_of(A.EC_P256, U.SIGN), der(pair.public_key())
    made = device.open_envelope(transport, envelope, spec, accept, public_key=own).made
    assert made.public_key == own


@over_modules
def test_a_transport_pair_agrees_and_dies_with_its_session(name: str, device: Device) -> None:
    before, transport = objects(device), os.urandom(16)
    peer = ec.generate_private_key(ec.SECP256R1())
    own = load_der_public_key(device.open_transport(transport, A.EC_P256))
    assert isinstance(own, ec.EllipticCurvePublicKey)
    z = device.transport_secret(transport, der(peer.public_key()))
    assert z == peer.exchange(ec.ECDH(), own)
    assert objects(device) == before, name
    device.close_transport(transport)
    device.close_transport(transport)
    with pytest.raises(KeyNotFoundError):
        device.transport_secret(transport, der(peer.public_key()))


TEST_KEY = rsa.generate_private_key(65537, 2048)


def raw(sealed: bytes) -> bytearray:
    """RSA without padding, as a module without OAEP does it."""
    numbers = TEST_KEY.private_numbers()
    plain = pow(int.from_bytes(sealed), numbers.d, numbers.public_numbers.n)
    return bytearray(plain.to_bytes(256))


@settings(max_examples=25)
@given(st.binary(max_size=190))
def test_oaep_is_taken_off_as_the_library_put_it_on(text: bytes) -> None:
    assert unpadded(raw(TEST_KEY.public_key().encrypt(text, OAEP))) == text


@settings(max_examples=25)
@given(st.integers(0, 255), st.integers(1, 255))
def test_oaep_with_any_byte_changed_is_refused_in_one_way(at: int, by: int) -> None:
    block = raw(TEST_KEY.public_key().encrypt(b"key", OAEP))
    block[at] ^= by
    with pytest.raises(DataInvalidError, match="does not open"):
        unpadded(block)
