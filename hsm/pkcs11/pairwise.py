"""Pairwise consistency: a fresh key must do its one purpose, judged by a second implementation."""

import hmac
import secrets
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11 import Mechanism as Ckm
from pkcs11.exceptions import PKCS11Error

from hsm.errors import IntegrityError, MechanismUnsupportedError
from hsm.pkcs11 import spki
from hsm.pkcs11.held import IV_SIZE, RSA, Held, mac_mechanism
from hsm.pkcs11.templates import without_defaults
from hsm.types import Algorithm, CheckValues, KeyUsage, Mechanism

ZERO_BLOCK = bytes(16)
KWP_PROBE = bytes(8)
KWP_MORE = 8  # bytes that a wrapped key is longer than the key


def test(held: Held) -> None:
    """Raises `IntegrityError` if the key does not do what it was made for."""
    tests = {
        KeyUsage.SIGN: _signs,
        KeyUsage.AGREE: _agrees,
        KeyUsage.DECRYPT: _decrypts,
        KeyUsage.ENCRYPT: _encrypts,
        KeyUsage.MAC: _macs,
        KeyUsage.GMAC: _gmacs,
        KeyUsage.WRAP: _wraps,
    }
    if not tests[held.spec.usage](held):
        raise IntegrityError(
            f"the new key of {held.spec.algorithm} failed its pairwise test",
            next_step="Take the device out of service and have it examined.",
        )


def check_value(held: Held) -> str:
    """First 3 bytes, in hex, of a known answer: see `MadeKey`."""
    if held.spec.algorithm.is_pair:
        return ""
    try:
        return _check_value(held)[:3].hex()
    except (PKCS11Error, MechanismUnsupportedError):
        return ""


def _check_value(held: Held) -> bytes:
    if held.spec.algorithm is Algorithm.HMAC_SHA256:
        return held.mac(Mechanism.HMAC_SHA256, b"")
    if held.spec.usage is KeyUsage.MAC:
        return held.mac(Mechanism.AES_CMAC, ZERO_BLOCK)
    if held.spec.usage is KeyUsage.WRAP:
        probe = _known_key(held, KWP_PROBE)
        try:
            return held.wrap(probe)
        finally:
            probe.destroy()
    return _cmac_of_zero_block(held.secret)


def check_values(secret: Any) -> CheckValues:
    """Both check values of an AES key object that may encrypt."""
    ecb = secret.encrypt(ZERO_BLOCK, mechanism=Ckm.AES_ECB)
    return CheckValues(_cmac_of_zero_block(secret)[:3].hex(), ecb[:3].hex())


def _cmac_of_zero_block(secret: Any) -> bytes:
    """SP 800-38B by two ECB calls, for a key that may encrypt but not sign."""
    encrypt = secret.encrypt
    doubled = int.from_bytes(encrypt(ZERO_BLOCK, mechanism=Ckm.AES_ECB)) << 1
    if doubled >> 128:
        doubled = (doubled & ((1 << 128) - 1)) ^ 0x87
    return encrypt(doubled.to_bytes(16), mechanism=Ckm.AES_ECB)  # type: ignore[no-any-return]


def _signs(held: Held) -> bool:
    digest = secrets.token_bytes(32)
    return all(_signs_by(held, mechanism, digest) for mechanism in _signatures(held))


def _signatures(held: Held) -> tuple[Mechanism, ...]:
    if held.spec.algorithm is Algorithm.ED25519:
        return (Mechanism.EDDSA,)
    if held.spec.algorithm in RSA:
        return (Mechanism.RSA_PKCS1_SHA256,)
    return (Mechanism.ECDSA,)


def _signs_by(held: Held, mechanism: Mechanism, digest: bytes) -> bool:
    signature = held.sign(mechanism, digest)
    return held.public is not None and spki.verifies(held.public, mechanism, digest, signature)


def _agrees(held: Held) -> bool:
    peer = ec.generate_private_key(spki.NAMED_CURVES[held.spec.algorithm])
    ours = held.derive(spki.dump(peer.public_key()))
    public = held.public
    return isinstance(public, ec.EllipticCurvePublicKey) and hmac.compare_digest(
        ours, peer.exchange(ec.ECDH(), public)
    )


def _decrypts(held: Held) -> bool:
    text = secrets.token_bytes(32)
    sealed = held.encrypt(Mechanism.RSA_OAEP_SHA256, text, b"", b"")
    return held.decrypt(Mechanism.RSA_OAEP_SHA256, sealed, b"") == text


def _encrypts(held: Held) -> bool:
    text, iv = secrets.token_bytes(32), secrets.token_bytes(IV_SIZE)
    sealed = held.encrypt(Mechanism.AES_GCM, text, b"aad", iv)
    return text not in sealed and held.decrypt(Mechanism.AES_GCM, sealed, b"aad") == text


def _macs(held: Held) -> bool:
    mechanism = mac_mechanism(held.spec.algorithm)
    first, second = secrets.token_bytes(32), secrets.token_bytes(32)
    tags = [held.mac(mechanism, data) for data in (first, first, second)]
    return tags[0] == tags[1] != tags[2]


def _gmacs(held: Held) -> bool:
    data, iv = secrets.token_bytes(32), secrets.token_bytes(IV_SIZE)
    tags = [held.mac(Mechanism.AES_GMAC, d, iv) for d in (data, data, data[1:])]
    return tags[0] == tags[1] != tags[2]


def _wraps(held: Held) -> bool:
    value = secrets.token_bytes(32)
    probe = _known_key(held, value)
    blob = held.wrap(probe)
    probe.destroy()
    return value not in blob and hmac.compare_digest(reread(held, blob), value)


def reread(kek: Held, blob: bytes) -> bytearray:
    """What is in a wrapped secret key, for the caller to overwrite."""
    back = kek.secret.unwrap_key(
        ObjectClass.SECRET_KEY,
        KeyType.GENERIC_SECRET,
        blob,
        mechanism=kek.vendor.kwp,
        capabilities=0,
        template=without_defaults(_open_secret()),
    )
    try:
        return kek.value(back, len(blob) - KWP_MORE)
    finally:
        back.destroy()


def _known_key(held: Held, value: bytes) -> Any:
    """A session object whose value is no secret, to see what a KEK makes of it."""
    return held.secret.session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.VALUE: value,
            **_open_secret(),
        }
    )


def _open_secret() -> dict[Attribute, Any]:
    return {
        Attribute.TOKEN: False,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: False,
        Attribute.EXTRACTABLE: True,
    }
