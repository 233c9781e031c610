"""People's signatures: how they are made by a software credential and how they are checked.

One algorithm, fixed by us: ECDSA P-256 with SHA-256, in DER (what a PIV card's 9C makes too).
"""

from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from keyvault.domain.errors import InvalidInputError
from keyvault.domain.notes import (
    SignatureType,
    VerifierKey,
    cosignature_parts,
    cosigned_message,
)
from keyvault.domain.profiles import ECDSA_SHA256, ECDSA_SHA384

DER = serialization.Encoding.DER
ALGORITHM = ec.ECDSA(hashes.SHA256())
SIGNATURE_LIMIT = 80  # bytes: a P-256 signature in DER has at most 72


class Credential(Protocol):
    """What signs for a person: an encrypted software key now, a card behind the same seam."""

    @property
    def spki(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes: ...


class SoftwareCredential:
    """A P-256 key in a PKCS#8 file, encrypted under the person's passphrase."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey) -> None:
        self._private_key = private_key

    @classmethod
    def create(cls, path: Path, passphrase: bytes) -> "SoftwareCredential":
        """Make a key and write it, readable by its owner alone. The file must not exist."""
        if len(passphrase) < 8:  # noqa: PLR2004  (said in the message)
            raise InvalidInputError("a passphrase has at least 8 characters")
        private_key = ec.generate_private_key(ec.SECP256R1())
        pem = private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase),
        )
        try:
            path.touch(mode=0o600, exist_ok=False)
        except FileExistsError as error:
            raise InvalidInputError(f"{path} exists already and is left alone") from error
        except OSError as error:
            raise InvalidInputError(f"cannot write {path}: {error.strerror}") from error
        path.write_bytes(pem)
        return cls(private_key)

    @classmethod
    def open(cls, path: Path, passphrase: bytes) -> "SoftwareCredential":
        """Raises `InvalidInputError` on a wrong passphrase or another kind of key."""
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), passphrase)
        except OSError as error:
            raise InvalidInputError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidInputError(
                f"{path} does not open with this passphrase", next_step="try again with care"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(
            key.curve, ec.SECP256R1
        ):
            raise InvalidInputError(f"{path} does not hold a P-256 key")
        return cls(key)

    @property
    def spki(self) -> bytes:
        return spki_der(self._private_key.public_key())

    def sign(self, message: bytes) -> bytes:
        return self._private_key.sign(message, ALGORITHM)


def spki_der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def verify(spki: bytes, signature: bytes, message: bytes) -> bool:
    """Check a person's signature. Anything but a P-256 key and a good signature is False."""
    key = _p256(spki)
    if key is None or len(signature) > SIGNATURE_LIMIT:
        return False
    try:
        key.verify(signature, message, ALGORITHM)
    except (InvalidSignature, ValueError):
        return False
    return True


def check_person_key(spki: bytes) -> None:
    """Raise `InvalidInputError` unless people can sign with this key.

    There is one encoding of each, so that nobody is registered twice with the same key.
    """
    key = _p256(spki)
    if key is None or spki_der(key) != spki:
        raise InvalidInputError(
            "a person's key is a P-256 key with an uncompressed point, as SPKI in DER",
            next_step="make a credential: keyvault credentials create",
        )


def _p256(spki: bytes) -> ec.EllipticCurvePublicKey | None:
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        return None
    fits = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    return key if fits else None  # type: ignore[return-value]  # as `fits` says


def verify_note(key: VerifierKey, text: bytes, signature: bytes) -> bool:
    """Check a line of a note: P-256, Ed25519 or a witness's cosignature, any other is False."""
    if key.type == SignatureType.ECDSA:
        return verify(key.public, signature, text)
    try:
        if key.type == SignatureType.COSIGNATURE:
            seconds, signature = cosignature_parts(signature)
            text = cosigned_message(text, seconds)
        ed25519.Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return key.type in (SignatureType.ED25519, SignatureType.COSIGNATURE)


def check_issued(certificate: bytes, issuer: bytes) -> None:
    """Raise `InvalidInputError` unless `issuer` (both DER) signed `certificate`, or is the same."""
    try:
        issued = x509.load_der_x509_certificate(certificate)
        issued.verify_directly_issued_by(x509.load_der_x509_certificate(issuer))
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise InvalidInputError(
            "the certificate was not signed by this issuer",
            next_step="give the issuing certificate, or none where it signed itself",
        ) from error


def spki_of_certificate(certificate: bytes) -> bytes:
    """Return the SPKI of a certificate in DER. Raises `InvalidInputError`."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
        return key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInputError("not an X.509 certificate in DER") from error


# AlgorithmIdentifiers (RFC 5758, RFC 4055) by which requests and certificates are signed.
_HASHES: dict[bytes, hashes.HashAlgorithm] = {
    ECDSA_SHA256: hashes.SHA256(),
    ECDSA_SHA384: hashes.SHA384(),
    bytes.fromhex("300d06092a864886f70d01010b0500"): hashes.SHA256(),
    bytes.fromhex("300d06092a864886f70d01010c0500"): hashes.SHA384(),
    bytes.fromhex("300d06092a864886f70d01010d0500"): hashes.SHA512(),
}


def verify_x509(spki: bytes, algorithm: bytes, message: bytes, signature: bytes) -> bool:
    """Check the signature of a request or certificate. An algorithm unknown here is False."""
    digest = _HASHES.get(algorithm)
    try:
        key = serialization.load_der_public_key(spki)
        if digest is None:
            return False
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), digest)
        else:
            return False
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def verify_possession(spki: bytes, signature: bytes, message: bytes) -> bool:
    """Check what a token signed: ECDSA in DER, or RSA PKCS#1 v1.5. SHA-384 with keys of P-384."""
    return verify_x509(spki, ECDSA_SHA384 if is_p384(spki) else ECDSA_SHA256, message, signature)


P384_SPKI = bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200")


def is_p384(spki: bytes) -> bool:
    """Whether a key (SPKI, DER) is of P-384: it signs with SHA-384 (SP 800-78-4, 3.2)."""
    return spki.startswith(P384_SPKI)
