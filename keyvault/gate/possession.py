"""Whether a token has the key that it wants a certificate for: by a signature, or by agreeing.

A key to agree with signs nothing. So the gate makes a key of its own for each such question, and
the token shows with what both agree on that it has the other half.
"""

import hmac
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyvault import signatures
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.token_profiles import LeafProfile, agreed, possession, profile_of

SCALAR_SIZE = 56  # bytes: 64 bits more than P-384's, so that its remainder shows no bias


class Possession:
    """`secret` are 32 random bytes of this process: a gate that starts anew asks again."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def methods(self) -> Mapping[str, Callable[..., Any]]:
        return {"agreement_peer": self.peer}

    def peer(self, job: str, slot: str, spki: bytes) -> bytes:
        """The key (SPKI) that the token's own has to agree with, for this job, slot and key."""
        return signatures.spki_der(self._private(job, slot, spki).public_key())

    def check(self, terms: Document, proof: bytes) -> None:
        """Raise `InvalidInputError` unless the token showed that it has the key."""
        job, slot, spki = str(terms["job"]), str(terms["slot"]), bytes(terms["spki"])
        message = possession(job, slot, spki)
        if profile_of(slot) is LeafProfile.TOKEN_AGREEMENT:
            z = self._private(job, slot, spki).exchange(ec.ECDH(), _curved(spki))
            good = hmac.compare_digest(proof, agreed(z, message))
        else:
            good = signatures.verify_possession(spki, proof, message)
        if not good:
            raise InvalidInputError(
                f"the token did not prove that it has the key of slot {slot}",
                next_step="put the token in again: it is asked anew",
            )

    def _private(self, job: str, slot: str, spki: bytes) -> ec.EllipticCurvePrivateKey:
        curve = _curved(spki).curve
        made = HKDF(hashes.SHA256(), SCALAR_SIZE, None, possession(job, slot, spki))
        number = int.from_bytes(made.derive(self._secret))
        return ec.derive_private_key(number % (curve.group_order - 1) + 1, curve)


def _curved(spki: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(spki)
    except ValueError as error:
        raise InvalidInputError("the public key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InvalidInputError("a key to agree with is of an elliptic curve")
    return key
