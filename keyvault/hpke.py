"""HPKE (RFC 9180) for a key in a module or on a card: `keyvault.sealed` seals, this opens with Z.

Base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM: the library that seals can only
open with a key that it holds itself, and ours does not leave the module.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from keyvault.domain.errors import ComponentInvalidError

ENC_SIZE = 65  # bytes: an uncompressed point of P-256
KEY_SIZE, NONCE_SIZE, HASH_SIZE = 32, 12, 32
_VERSION = b"HPKE-v1"
_KEM = b"KEM" + (0x0010).to_bytes(2)
_SUITE = b"HPKE" + (0x0010).to_bytes(2) + (0x0001).to_bytes(2) + (0x0002).to_bytes(2)
_BASE = b"\0"


def ephemeral(sealed: bytes) -> bytes:
    """The sender's ephemeral key, as SPKI. Raises `ComponentInvalidError`."""
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sealed[:ENC_SIZE])
    except ValueError as error:
        raise _unreadable() from error
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def opened(z: bytes | bytearray, spki: bytes, sealed: bytes, context: bytes) -> bytearray:
    """What was sealed to `spki`, given its ECDH with `ephemeral(sealed)`; the caller overwrites it.

    Raises `ComponentInvalidError`.
    """
    enc, ciphertext = sealed[:ENC_SIZE], sealed[ENC_SIZE:]
    prk = _extract(_KEM, b"", b"eae_prk", bytes(z))
    shared = _expand(_KEM, prk, b"shared_secret", enc + _point(spki), HASH_SIZE)
    ids = (_extract(_SUITE, b"", name, text) for name, text in _schedule(context))
    scheduled = _BASE + b"".join(ids)
    secret = _extract(_SUITE, shared, b"secret", b"")
    key = _expand(_SUITE, secret, b"key", scheduled, KEY_SIZE)
    nonce = _expand(_SUITE, secret, b"base_nonce", scheduled, NONCE_SIZE)
    try:
        return bytearray(AESGCM(key).decrypt(nonce, ciphertext, b""))
    except (InvalidTag, ValueError) as error:
        raise _unreadable() from error


def _schedule(context: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return (b"psk_id_hash", b""), (b"info_hash", context)


def _point(spki: bytes) -> bytes:
    key = load_der_public_key(spki)
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    """LabeledExtract."""
    made = hmac.HMAC(salt or bytes(HASH_SIZE), hashes.SHA256())
    made.update(_VERSION + suite + label + material)
    return made.finalize()


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
    """LabeledExpand."""
    labelled = size.to_bytes(2) + _VERSION + suite + label + info
    return HKDFExpand(hashes.SHA256(), size, labelled).derive(prk)


def _unreadable() -> ComponentInvalidError:
    return ComponentInvalidError(
        "this does not open: it was altered, or sealed for another handover, number or person",
        next_step="type the component again",
    )
