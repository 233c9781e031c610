"""The witness's own Ed25519 key, in a PKCS#8 file of its owner's alone."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyvault import durable
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.notes import Signature, SignatureType, VerifierKey, cosign

MIN_PASSPHRASE = 8  # bytes
LIMIT = 16_384  # bytes of a key file
_OTHERS = 0o077  # mode bits


class WitnessKey:
    """Signs checkpoints as `verifier` names it. Nothing else is ever signed with it."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        public = private.public_key().public_bytes_raw()
        self.verifier = VerifierKey(name, SignatureType.COSIGNATURE, public)
        self._private = private

    @classmethod
    def create(cls, path: Path, name: str, passphrase: bytes | None) -> "WitnessKey":
        """Make a key in a new file, 0600, encrypted if there is a passphrase.

        Raises `InvalidInputError`.
        """
        if passphrase is not None and len(passphrase) < MIN_PASSPHRASE:
            raise InvalidInputError(f"a passphrase has at least {MIN_PASSPHRASE} characters")
        key = cls(name, Ed25519PrivateKey.generate())
        pem = key._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, _encryption(passphrase)
        )
        try:
            durable.create(path, pem)
        except FileExistsError as error:
            raise InvalidInputError(f"{path} exists already and is left alone") from error
        return key

    @classmethod
    def open(cls, path: Path, name: str, passphrase: bytes | None) -> "WitnessKey":
        """Raises `InvalidInputError` if others may read the file, or the passphrase is wrong."""
        if path.stat().st_mode & _OTHERS:
            raise InvalidInputError(
                f"others than its owner may read {path}", next_step=f"run: chmod 600 {path}"
            )
        try:
            private = serialization.load_pem_private_key(_read(path), passphrase)
        except (ValueError, TypeError) as error:
            raise InvalidInputError(
                f"{path} does not open with this passphrase", next_step="try again with care"
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise InvalidInputError(f"{path} does not hold an Ed25519 key")
        return cls(name, private)

    def cosign(self, body: str, seconds: int) -> Signature:
        """Return the line of cosignature/v1 over a checkpoint's body at a time."""
        return cosign(self.verifier, self._private.sign, body, seconds)


def is_encrypted(path: Path) -> bool:
    """Whether the key file asks for a passphrase."""
    return b"ENCRYPTED" in _read(path).partition(b"\n")[0]


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LIMIT)


def _encryption(passphrase: bytes | None) -> serialization.KeySerializationEncryption:
    if passphrase is None:
        return serialization.NoEncryption()
    return serialization.BestAvailableEncryption(passphrase)
