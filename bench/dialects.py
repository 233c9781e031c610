"""How each service is asked for the use of a key, and how its answers are read and checked."""

from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Public = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
DIGESTED = utils.Prehashed(hashes.SHA256())


def _ecdsa(public: Public, raw: bytes, digest: bytes) -> None:
    assert isinstance(public, ec.EllipticCurvePublicKey)
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    public.verify(utils.encode_dss_signature(r, s), digest, ec.ECDSA(DIGESTED))


def _rsa(public: Public, raw: bytes, digest: bytes) -> None:
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(raw, digest, padding.PKCS1v15(), DIGESTED)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One service's words for "use this key on these items"."""

    status: int
    body: Callable[[list[bytes], Public], dict[str, Any]]  # of items, for the service's key
    results: Callable[[dict[str, Any]], list[str]]
    raw: Callable[[str], bytes]  # one result of an answer → bytes
    verify: Callable[[Public, bytes, bytes], None] | None = _ecdsa
    size: int = 32  # bytes of an item

    def read(self, answer: bytes) -> list[str]:
        """Return the results of an answer. Raises `ValueError` if there are none."""
        try:
            return self.results(orjson.loads(answer))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no results in {answer[:200]!r}") from error


def _unpadded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _standard(text: str) -> bytes:
    return _unpadded(text.replace("+", "-").replace("/", "_").rstrip("="))


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _one_or_many(one: str, many: str, items: list[bytes]) -> dict[str, Any]:
    texts = [_text(item) for item in items]
    return {one: texts[0]} if len(texts) == 1 else {many: texts}


def _openbao_body(digests: list[bytes], _: Public) -> dict[str, Any]:
    how = {"prehashed": True, "hash_algorithm": "sha2-256", "marshaling_algorithm": "jws"}
    items = [{"input": _text(digest)} for digest in digests]
    return {**items[0], **how} if len(items) == 1 else {"batch_input": items, **how}


def _openbao_signatures(answer: dict[str, Any]) -> list[str]:
    data = answer["data"]
    return [one["signature"] for one in data.get("batch_results") or [data]]


METER, COUNTER, TAG = "0012345678900A0F", "0000000100000000", 12
OURS = "90B3D51F30010000"  # the user id of the scope that the keys have


@cache
def _meter() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _response(items: list[bytes], ours: Public) -> dict[str, Any]:
    """A device's message and its MAC, as the device makes it: GBCS 4.3.3, kind of message 2."""
    assert isinstance(ours, ec.EllipticCurvePublicKey)
    z = _meter().exchange(ec.ECDH(), ours)
    info = bytes.fromhex(f"60857406080300{METER}0902{COUNTER}{OURS}")
    key = sha256((1).to_bytes(4) + z + info).digest()[:16]
    mac = AESGCM(key).encrypt(bytes.fromhex(METER) + bytes(4), b"", items[0])[:TAG]
    spki = _meter().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    about = {"peer": _text(spki), "originator": METER, "counter": COUNTER}
    return {**about, "data": _text(items[0]), "mac": _text(mac)}


DIALECTS = {
    "signatures": Dialect(
        status=201,
        body=lambda digests, _: {"digests": [_text(digest) for digest in digests]},
        results=lambda answer: list(answer["signatures"]),
        raw=_standard,
    ),
    "rsa": Dialect(
        status=201,
        body=lambda digests, _: {
            "digests": [_text(digest) for digest in digests],
            "mechanism": "RSA-PKCS1-SHA256",
        },
        results=lambda answer: list(answer["signatures"]),
        raw=_standard,
        verify=_rsa,
    ),
    "encryptions": Dialect(
        status=201,
        body=lambda items, _: _one_or_many("plaintext", "plaintexts", items),
        results=lambda answer: answer.get("ciphertexts") or [answer["ciphertext"]],
        raw=_standard,
        verify=None,
        size=1_024,
    ),
    "macs": Dialect(
        status=201,
        body=lambda items, _: _one_or_many("data", "items", items),
        results=lambda answer: answer.get("macs") or [answer["mac"]],
        raw=_standard,
        verify=None,
        size=1_024,
    ),
    "agreements": Dialect(
        status=200,
        body=_response,
        results=lambda answer: ["good"] if answer["valid"] else [],
        raw=_standard,
        verify=None,
        size=256,
    ),
    "openbao": Dialect(
        status=200,
        body=_openbao_body,
        results=_openbao_signatures,
        raw=lambda text: _unpadded(text.rpartition(":")[2]),
    ),
}
