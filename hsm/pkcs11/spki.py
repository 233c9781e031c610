"""Public keys between PKCS#11 attributes, SubjectPublicKeyInfo and `cryptography`."""

from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pkcs11 import Attribute

from hsm.errors import DataInvalidError, IntegrityError
from hsm.pkcs11.templates import CURVES, RSA_BITS
from hsm.types import Algorithm, Mechanism

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | Ed25519PublicKey
NAMED_CURVES: dict[Algorithm, ec.EllipticCurve] = {
    Algorithm.EC_P256: ec.SECP256R1(),
    Algorithm.EC_P384: ec.SECP384R1(),
}
DIGESTS: dict[int, hashes.HashAlgorithm] = {32: hashes.SHA256(), 48: hashes.SHA384()}
OCTET_STRING = 0x04  # its tag in DER
SHA256 = hashes.SHA256()
PSS = padding.PSS(padding.MGF1(SHA256), salt_length=32)
OAEP = padding.OAEP(padding.MGF1(SHA256), SHA256, None)


def load(spki: bytes, algorithm: Algorithm) -> PublicKey:
    """Read a SubjectPublicKeyInfo of exactly this algorithm; its point is checked.

    Raises `DataInvalidError`.
    """
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DataInvalidError("not a SubjectPublicKeyInfo in DER") from error
    if algorithm_of(key) is not algorithm:
        raise DataInvalidError(f"the public key is not one of {algorithm}")
    return key  # type: ignore[return-value]  # algorithm_of has let no other type through


def algorithm_of(key: object) -> Algorithm | None:
    if isinstance(key, Ed25519PublicKey):
        return Algorithm.ED25519
    if isinstance(key, rsa.RSAPublicKey):
        return next((a for a, bits in RSA_BITS.items() if bits == key.key_size), None)
    if isinstance(key, ec.EllipticCurvePublicKey):
        named = {curve.name: algorithm for algorithm, curve in NAMED_CURVES.items()}
        return named.get(key.curve.name)
    return None


def dump(key: PublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def from_attributes(algorithm: Algorithm, attributes: dict[Attribute, Any]) -> PublicKey:
    """The public key that a module states. Raises `IntegrityError` if it is none of that kind."""
    try:
        key = _stated(algorithm, attributes)
    except (KeyError, ValueError, TypeError) as error:
        raise IntegrityError("the device states a public key that is none") from error
    if algorithm_of(key) is not algorithm:
        raise IntegrityError(f"the device states a public key that is not one of {algorithm}")
    return key


def _stated(algorithm: Algorithm, attributes: dict[Attribute, Any]) -> PublicKey:
    if algorithm in RSA_BITS:
        modulus = int.from_bytes(attributes[Attribute.MODULUS])
        exponent = int.from_bytes(attributes[Attribute.PUBLIC_EXPONENT])
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    point = _octets(attributes[Attribute.EC_POINT])
    if algorithm is Algorithm.ED25519:
        return Ed25519PublicKey.from_public_bytes(point)
    return ec.EllipticCurvePublicKey.from_encoded_point(NAMED_CURVES[algorithm], point)


def to_attributes(key: PublicKey) -> dict[Attribute, Any]:
    """What C_CreateObject needs for the public half of a pair."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {
            Attribute.MODULUS: numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8),
            Attribute.PUBLIC_EXPONENT: numbers.e.to_bytes(3),
        }
    algorithm = algorithm_of(key)
    return {
        Attribute.EC_PARAMS: CURVES[algorithm],  # type: ignore[index]  # loaded by `load`
        Attribute.EC_POINT: bytes([OCTET_STRING, len(point(key))]) + point(key),
    }


def _octets(der: bytes) -> bytes:
    """The content of a short OCTET STRING: no point of ours is longer than 97 bytes."""
    if der[:2] != bytes([OCTET_STRING, len(der) - 2]):
        raise ValueError
    return der[2:]


def point(key: PublicKey) -> bytes:
    """X9.62 uncompressed point, or the 32 bytes of Ed25519."""
    if isinstance(key, Ed25519PublicKey):
        return key.public_bytes_raw()
    return key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def verifies(key: PublicKey, mechanism: Mechanism, data: bytes, signature: bytes) -> bool:
    """Check a signature outside the device. An expected no is a value."""
    try:
        _verify(key, mechanism, data, signature)
    except (InvalidSignature, ValueError, KeyError):
        return False
    return True


def _verify(key: PublicKey, mechanism: Mechanism, data: bytes, signature: bytes) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        size = (key.key_size + 7) // 8
        if len(signature) != 2 * size:
            raise InvalidSignature
        halves = (int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
        hashed = ec.ECDSA(utils.Prehashed(DIGESTS[len(data)]))
        key.verify(utils.encode_dss_signature(*halves), data, hashed)
    elif isinstance(key, Ed25519PublicKey):
        key.verify(signature, data)
    else:
        pad = PSS if mechanism is Mechanism.RSA_PSS_SHA256 else padding.PKCS1v15()
        key.verify(signature, data, pad, utils.Prehashed(SHA256))
