"""Words for one reader: sealed to a public key, so that what stands between sees nothing.

HPKE (RFC 9180) in base mode: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. `context` is
what it is for, and is checked when it is opened: a share is no component, and neither of them
opens for another act than its own.
"""

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from keyvault import hpke
from keyvault.domain.errors import ComponentInvalidError, InvalidInputError

LIMIT = 16_384  # bytes of what is sealed
Agree = Callable[[bytes], bytes]
"""(SPKI of the peer) → Z, the ECDH of a key that is not here with it."""
_SUITE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def seal(spki: bytes, secret: bytes, context: bytes) -> bytes:
    """Seal for whoever has the private half of `spki` (P-256, DER). Raises `InvalidInputError`."""
    try:
        key = serialization.load_der_public_key(spki)
    except ValueError as error:
        raise InvalidInputError("this is no public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInputError("secrets are sealed to a P-256 key")
    return bytes(_SUITE.encrypt(secret, key, info=context))


def opened(key: ec.EllipticCurvePrivateKey, sealed: bytes, context: bytes) -> bytes:
    """Open what was sealed. Raises `InvalidInputError` if it is not for this key and purpose."""
    _check_size(sealed)
    try:
        return bytes(_SUITE.decrypt(sealed, key, info=context))
    except (InvalidTag, ValueError) as error:
        raise _closed() from error


def opened_by(agree: Agree, spki: bytes, sealed: bytes, context: bytes) -> bytes:
    """The same with a key that stays where it is, such as in slot 9D of a card: `spki` is its own.

    `agree` is asked once, and not at all for what cannot be sealed to any key.
    """
    _check_size(sealed)
    try:
        return bytes(hpke.opened(agree(hpke.ephemeral(sealed)), spki, sealed, context))
    except ComponentInvalidError as error:
        raise _closed() from error


def _check_size(sealed: bytes) -> None:
    if len(sealed) > LIMIT:
        raise InvalidInputError(f"what is sealed is at most {LIMIT} bytes long")


def _closed() -> InvalidInputError:
    return InvalidInputError(
        "this does not open: it was altered, or sealed to another key or for another purpose",
        next_step="seal it again, to the key that is shown now",
    )
