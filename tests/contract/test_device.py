"""The contract of hsm/device.py: one suite, every device, keys at both homes."""

import hmac
import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from hsm.device import Device
from hsm.errors import (
    DataInvalidError,
    DeviceUnavailableError,
    HsmError,
    KeyExistsError,
    KeyNotFoundError,
    KeyUnusableError,
    MechanismUnsupportedError,
)
from hsm.registry import open_device
from hsm.types import Algorithm, KeySpec, KeyUsage, MadeKey, Mechanism
from tests.contract.conftest import Home, name_of, spec_of
from tests.contract.known import ABILITIES, DEVICES, MECHANISM, USES

pytestmark = pytest.mark.parametrize("name", DEVICES)
A, M, U = Algorithm, Mechanism, KeyUsage
SHA256 = hashes.SHA256()
DIGEST = os.urandom(32)


def test_the_probe_finds_exactly_what_the_module_can_do(name: str, device: Device) -> None:
    assert set(device.info.mechanisms) == ABILITIES[name].mechanisms
    assert set(device.info.algorithms) == ABILITIES[name].algorithms
    assert len(device.info.module_sha256) == 64


@pytest.mark.parametrize(("algorithm", "usage"), USES)
def test_a_key_does_its_one_purpose_and_no_other(
    home: Home, algorithm: Algorithm, usage: KeyUsage
) -> None:
    if not home.can(algorithm, usage):
        with pytest.raises(MechanismUnsupportedError):
            home.make(algorithm, usage)
        return
    made = home.make(algorithm, usage)
    PROOFS[MECHANISM[algorithm, usage]](home.device, made)
    for mechanism in set(Mechanism) - {MECHANISM[algorithm, usage], M.RSA_PSS_SHA256, M.RANDOM}:
        assert_refused(home.device, made, mechanism)


def assert_refused(device: Device, made: MadeKey, mechanism: Mechanism) -> None:
    """Each of the four verbs, with the right amount of data, so that only the purpose is wrong."""
    key, refusals = name_of(made), (KeyUnusableError, MechanismUnsupportedError)
    with pytest.raises(refusals):
        device.sign(key, mechanism, DIGEST)
    with pytest.raises(refusals):
        device.mac(key, mechanism, DIGEST, bytes(12))
    with pytest.raises(refusals):
        device.encrypt(key, mechanism, DIGEST)
    with pytest.raises(refusals):
        device.decrypt(key, mechanism, bytes(64))


def proves_ecdsa(device: Device, made: MadeKey) -> None:
    signature = device.sign(name_of(made), M.ECDSA, DIGEST)
    half = len(signature) // 2
    pair = (int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
    public = load_der_public_key(made.public_key)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(utils.encode_dss_signature(*pair), DIGEST, ec.ECDSA(utils.Prehashed(SHA256)))
    assert_verifies(device, made, M.ECDSA, signature)


def proves_rsa_signature(device: Device, made: MadeKey) -> None:
    public = load_der_public_key(made.public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    pss = padding.PSS(padding.MGF1(SHA256), 32)
    for mechanism, pad in ((M.RSA_PKCS1_SHA256, padding.PKCS1v15()), (M.RSA_PSS_SHA256, pss)):
        signature = device.sign(name_of(made), mechanism, DIGEST)
        public.verify(signature, DIGEST, pad, utils.Prehashed(SHA256))
        assert_verifies(device, made, mechanism, signature)


def proves_eddsa(device: Device, made: MadeKey) -> None:
    message = b"a whole message, not its digest"
    signature = device.sign(name_of(made), M.EDDSA, message)
    load_der_public_key(made.public_key).verify(signature, message)  # type: ignore[union-attr, call-arg]
    assert device.verify(name_of(made), M.EDDSA, message, signature)
    assert not device.verify(name_of(made), M.EDDSA, b"another", signature)


def assert_verifies(device: Device, made: MadeKey, mechanism: Mechanism, signature: bytes) -> None:
    key = name_of(made)
    assert device.public_key(key) == made.public_key
    assert device.verify(key, mechanism, DIGEST, signature)
    assert not device.verify(key, mechanism, bytes(32), signature)
    assert not device.verify(key, mechanism, DIGEST, signature[:-1])
    assert not device.verify(key, mechanism, DIGEST, b"")
    with pytest.raises(DataInvalidError):
        device.sign(key, mechanism, bytes(20))  # the size of SHA-1


def proves_ecdh(device: Device, made: MadeKey) -> None:
    public = load_der_public_key(made.public_key)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    peer = ec.generate_private_key(public.curve)
    assert device.derive(name_of(made), der(peer)) == peer.exchange(ec.ECDH(), public)
    other = ec.SECP384R1() if public.curve.name == "secp256r1" else ec.SECP256R1()
    off_curve = der(peer)[:-1] + bytes([der(peer)[-1] ^ 1])
    for bad in (b"", b"no key", der(ec.generate_private_key(other)), off_curve):
        with pytest.raises(DataInvalidError):
            device.derive(name_of(made), bad)


def der(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def proves_oaep(device: Device, made: MadeKey) -> None:
    public = load_der_public_key(made.public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    sealed = public.encrypt(b"secret", padding.OAEP(padding.MGF1(SHA256), SHA256, None))
    assert device.decrypt(name_of(made), M.RSA_OAEP_SHA256, sealed) == b"secret"
    ours = device.encrypt(name_of(made), M.RSA_OAEP_SHA256, b"ours")
    assert device.decrypt(name_of(made), M.RSA_OAEP_SHA256, ours) == b"ours"
    for bad in (sealed[:-1] + bytes([sealed[-1] ^ 1]), b"", sealed + b"\0"):
        with pytest.raises(DataInvalidError):
            device.decrypt(name_of(made), M.RSA_OAEP_SHA256, bad)
    with pytest.raises(DataInvalidError):
        device.encrypt(name_of(made), M.RSA_OAEP_SHA256, bytes(1000))


def proves_gcm(device: Device, made: MadeKey) -> None:
    key = name_of(made)
    for text, aad in ((b"", b""), (b"x", b"aad"), (os.urandom(100_000), b"")):
        sealed = device.encrypt(key, M.AES_GCM, text, aad)
        assert len(sealed) == 12 + len(text) + 16
        assert device.decrypt(key, M.AES_GCM, sealed, aad) == text
        assert sealed[:12] != device.encrypt(key, M.AES_GCM, text, aad)[:12]
    sealed = device.encrypt(key, M.AES_GCM, b"text", b"aad")
    flipped = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in (0, 13, 31)]
    for bad in (*flipped, sealed[:-1], sealed[:27], b""):
        with pytest.raises(DataInvalidError):
            device.decrypt(key, M.AES_GCM, bad, b"aad")
    with pytest.raises(DataInvalidError):
        device.decrypt(key, M.AES_GCM, sealed, b"other")
    assert device.decrypt(key, M.AES_GCM, sealed, b"aad") == b"text"


def proves_gmac(device: Device, made: MadeKey) -> None:
    key, iv = name_of(made), os.urandom(12)
    tag = device.mac(key, M.AES_GMAC, DIGEST, iv)
    assert len(tag) == 16
    assert tag == device.mac(key, M.AES_GMAC, DIGEST, iv)
    assert tag != device.mac(key, M.AES_GMAC, DIGEST, os.urandom(12))
    with pytest.raises(DataInvalidError):
        device.mac(key, M.AES_GMAC, DIGEST)


def proves_mac(device: Device, made: MadeKey) -> None:
    key, mechanism = name_of(made), MECHANISM[made.spec.algorithm, made.spec.usage]
    tag = device.mac(key, mechanism, DIGEST)
    assert len(tag) == (16 if mechanism is M.AES_CMAC else 32)
    assert device.verify(key, mechanism, DIGEST, tag)
    assert not device.verify(key, mechanism, DIGEST, bytes(len(tag)))
    assert made.check_value == check_value(device, made)


def check_value(device: Device, made: MadeKey) -> str:
    known = b"" if made.spec.algorithm is A.HMAC_SHA256 else bytes(16)
    mechanism = MECHANISM[made.spec.algorithm, made.spec.usage]
    return device.mac(name_of(made), mechanism, known)[:3].hex()


def proves_kwp(device: Device, made: MadeKey) -> None:
    """A wrapped KEK wraps nothing by itself here: only resident KEKs do."""
    assert len(bytes.fromhex(made.check_value)) == 3
    if made.wrapped:
        return
    travelling = device.generate(spec_of(A.AES_128, U.MAC, extractable=True))
    blob = device.wrap(made.spec.key_id, travelling.spec.key_id)
    back = device.unwrap(made.spec.key_id, blob, spec_of(A.AES_128, U.MAC))
    assert back.check_value == travelling.check_value


PROOFS = {
    M.ECDSA: proves_ecdsa,
    M.RSA_PKCS1_SHA256: proves_rsa_signature,
    M.EDDSA: proves_eddsa,
    M.ECDH: proves_ecdh,
    M.RSA_OAEP_SHA256: proves_oaep,
    M.AES_GCM: proves_gcm,
    M.AES_GMAC: proves_gmac,
    M.AES_CMAC: proves_mac,
    M.HMAC_SHA256: proves_mac,
    M.AES_KWP: proves_kwp,
}


def test_what_the_device_says_of_a_key_is_what_was_ordered(device: Device) -> None:
    made = device.generate(spec_of(A.EC_P256, U.SIGN))
    public, private = sorted(device.find(made.spec.key_id), key=lambda r: r.object_class)[::-1]
    assert (public.object_class, private.object_class) == ("PUBLIC_KEY", "PRIVATE_KEY")
    assert private.key_id == public.key_id == made.spec.key_id
    assert private.label == made.spec.label
    wanted = {"TOKEN": True, "PRIVATE": True, "SENSITIVE": True, "EXTRACTABLE": False}
    wanted |= {"SIGN": True, "DECRYPT": False, "UNWRAP": False, "DERIVE": False}
    wanted |= {"ALWAYS_SENSITIVE": True, "NEVER_EXTRACTABLE": True, "MODIFIABLE": False}
    assert private.attributes.items() >= wanted.items()
    assert made.attributes.items() >= wanted.items()


def test_a_resident_key_is_found_again_by_the_next_session(device: Device, token, opened) -> None:
    made = device.generate(spec_of(A.EC_P384, U.SIGN))
    mac_key = device.generate(spec_of(A.HMAC_SHA256, U.MAC))
    device.close()
    again = opened(token)
    assert again.public_key(made.spec.key_id) == made.public_key
    proves_ecdsa(again, made)
    assert check_value(again, mac_key) == mac_key.check_value


def test_destroying_leaves_nothing_and_counts_what_went(device: Device) -> None:
    made = device.generate(spec_of(A.EC_P256, U.SIGN))
    device.sign(made.spec.key_id, M.ECDSA, DIGEST)
    assert device.destroy(made.spec.key_id) == 2
    assert device.find(made.spec.key_id) == []
    assert device.destroy(made.spec.key_id) == 0
    with pytest.raises(KeyNotFoundError):
        device.sign(made.spec.key_id, M.ECDSA, DIGEST)


def test_a_cka_id_is_given_once(device: Device) -> None:
    made = device.generate(spec_of(A.EC_P256, U.SIGN))
    with pytest.raises(KeyExistsError):
        device.generate(made.spec)
    assert len(device.find(made.spec.key_id)) == 2


def test_an_order_that_makes_no_sense_is_refused_before_the_device(device: Device) -> None:
    with pytest.raises(KeyUnusableError):
        device.generate(spec_of(A.HMAC_SHA256, U.SIGN))
    with pytest.raises(DataInvalidError):
        device.generate(KeySpec(b"short", "label", A.EC_P256, U.SIGN))


def test_an_unknown_key_is_not_found(device: Device) -> None:
    with pytest.raises(KeyNotFoundError):
        device.sign(os.urandom(16), M.ECDSA, DIGEST)
    assert device.find(os.urandom(16)) == []


def test_random_bytes_differ_and_are_as_many_as_asked(device: Device) -> None:
    assert {len(device.random(size)) for size in (1, 32, 1000)} == {1, 32, 1000}
    assert device.random(32) != device.random(32)
    for size in (0, -1, 1 << 17):
        with pytest.raises(DataInvalidError):
            device.random(size)


def test_two_data_objects_are_kept_the_newest_first(device: Device) -> None:
    label = f"anchor {os.urandom(4).hex()}"
    assert device.get_data(label) == []
    for number in range(12):
        device.put_data(label, str(number).encode())
    assert device.get_data(label) == [b"11", b"10"]
    device.put_data(label + " other", b"other")
    assert device.get_data(label) == [b"11", b"10"]
    written = {record.object_class for record in device.inventory() if not record.key_id}
    assert written == {"DATA"}  # and nobody takes it for a key


def test_the_inventory_shows_ours_and_foreign_objects_without_values(device: Device) -> None:
    before = {record.key_id for record in device.inventory()}
    made = device.generate(spec_of(A.RSA_2048, U.SIGN))
    after = device.inventory()
    assert {record.key_id for record in after} - before == {made.spec.key_id}
    assert not any("VALUE" in record.attributes for record in after)


def test_a_closed_device_is_closed_for_good(device: Device) -> None:
    device.close()
    device.close()
    with pytest.raises(DeviceUnavailableError):
        device.random(1)


def test_one_process_logs_in_to_a_token_once(device: Device, token) -> None:
    with pytest.raises(HsmError):
        open_device(token.uri, token.pin)
    assert len(device.random(8)) == 8


def test_the_first_device_outlives_a_wrong_pin_of_the_second(device: Device, token) -> None:
    with pytest.raises(HsmError):
        open_device(token.uri, b"wrong")
    made = device.generate(spec_of(A.EC_P256, U.SIGN))
    assert hmac.compare_digest(device.public_key(made.spec.key_id), made.public_key)
