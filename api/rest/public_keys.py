"""Public keys as PEM, DER or JWK (RFC 7517, RFC 7518 section 6, RFC 8037)."""

import hashlib
from base64 import urlsafe_b64encode

import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from hsm.types import KeyUsage
from keyvault.domain.errors import NotFoundError
from keyvault.domain.keys import Key

MEDIA_TYPES = {
    "pem": "application/x-pem-file",
    "der": "application/octet-stream",
    "jwk": "application/jwk+json",
}
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}


def encoded(key: Key, form: str) -> bytes:
    """Write the public half of `key`. Raises `NotFoundError` if it has none."""
    if not key.public_key:
        raise NotFoundError(f"a {key.algorithm} key has no public half")
    if form == "der":
        return key.public_key
    if form == "pem":
        public = load_der_public_key(key.public_key)
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return orjson.dumps(jwk(key))


def jwk(key: Key) -> dict[str, str]:
    """Write a JWK whose `kid` is the RFC 7638 thumbprint."""
    members = _members(key.public_key)
    canonical = orjson.dumps(members, option=orjson.OPT_SORT_KEYS)
    use = {"use": "sig"} if key.usage is KeyUsage.SIGN else {"use": "enc"}
    return {**members, **use, "kid": _url64(hashlib.sha256(canonical).digest())}


def _members(spki: bytes) -> dict[str, str]:
    match load_der_public_key(spki):
        case ec.EllipticCurvePublicKey() as key:
            size, point = (key.key_size + 7) // 8, key.public_numbers()
            x, y = (_url64(value.to_bytes(size)) for value in (point.x, point.y))
            return {"kty": "EC", "crv": _CURVES[key.curve.name], "x": x, "y": y}
        case rsa.RSAPublicKey() as key:
            numbers = key.public_numbers()
            n, e = (_url64(_whole(value)) for value in (numbers.n, numbers.e))
            return {"kty": "RSA", "n": n, "e": e}
        case ed25519.Ed25519PublicKey() as key:
            raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
            return {"kty": "OKP", "crv": "Ed25519", "x": _url64(raw)}
        case _:
            raise NotFoundError("this kind of public key has no JWK form")


def _whole(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8)


def _url64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
