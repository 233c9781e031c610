"""What the house asks of a device. Drivers share nothing but these contracts and one suite.

Every method raises `hsm.errors.HsmError`. A device is used by one thread of one process.
Keys are named by CKA_ID (16 bytes) where resident, or carried as `WrappedKey`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from hsm.types import (
    Agreed,
    Agreement,
    Algorithm,
    Carried,
    CheckValues,
    DeviceInfo,
    KeySpec,
    MadeKey,
    Mechanism,
    ObjectRecord,
    VerifyPolicy,
    WrappedKey,
)

Proof = Callable[[bytes], bytes]
"""(SPKI in DER) → the SHA-256 digest that a key-agreement key signs, once, at its birth."""


Opener = Callable[[], bytearray]
"""() → one component of a key in clear; whoever calls it overwrites it."""
Accept = Callable[[CheckValues], None]
"""(check values of the whole key) → nothing, or it raises and no key is made."""


class Signer(Protocol):
    def public_key(self, key: bytes | WrappedKey) -> bytes:
        """Return the SubjectPublicKeyInfo in DER."""

    def sign(
        self,
        key: bytes | WrappedKey,
        mechanism: Mechanism,
        data: bytes,
        *,
        verify: VerifyPolicy | None = None,
    ) -> bytes:
        """Sign a digest (EdDSA: a message). ECDSA answers raw r || s.

        `verify` says how often to check it outside the device before release; without it the
        policy given at opening holds. A signature that does not verify is an `IntegrityError`.
        """

    def sign_all(
        self,
        key: bytes | WrappedKey,
        mechanism: Mechanism,
        data: Iterable[bytes],
        *,
        verify: VerifyPolicy | None = None,
    ) -> list[bytes]:
        """Do as `sign` does with each of them, which is taken when the device is free for it."""


class KeyMaker(Protocol):
    def generate(self, spec: KeySpec, *, proof: Proof | None = None) -> MadeKey:
        """Make a resident key, read its attributes back and test it pairwise.

        With `proof`, an EC key to agree with signs once, before it is what `spec` says: see
        `MadeKey.proof`. Afterwards nothing can make it sign. A module that cannot turn a signing
        key into one to agree with raises `MechanismUnsupportedError`.
        """

    def generate_wrapped(
        self, spec: KeySpec, kek_id: bytes, mac_key_id: bytes, *, proof: Proof | None = None
    ) -> MadeKey:
        """Make a key, wrap it under a resident trusted KEK and keep only the blob."""

    def rewrap(self, record: WrappedKey, kek_id: bytes) -> WrappedKey:
        """The same key under another resident trusted KEK, its record under the same MAC key.

        Raises `IntegrityError` for a record that was altered.
        """

    def destroy(self, key_id: bytes) -> int:
        """Destroy every object with this CKA_ID; return how many there were."""

    def drop(self, key_id: bytes) -> None:
        """Hold nothing of a key any more: no handle, no unwrapped object. The token stays as is."""


class KeyWrapper(Protocol):
    def wrap(self, kek_id: bytes, key_id: bytes) -> bytes:
        """Wrap a resident extractable key with AES-KWP."""

    def unwrap(
        self, kek_id: bytes, blob: bytes, spec: KeySpec, *, public_key: bytes = b""
    ) -> MadeKey:
        """Unwrap into a resident key of exactly this spec; read back and test.

        A pair needs `public_key`, its SPKI: a wrapped private key does not carry it.
        """


class KeyCarrier(Protocol):
    """Keys that people carry in and out. Nothing of a call that fails is left on the token."""

    def open_transport(self, key_id: bytes, algorithm: Algorithm) -> bytes:
        """Make a pair for one handover, which dies with this process: EC-P256, or RSA.

        Returns its SPKI.
        """

    def transport_secret(self, key_id: bytes, peer_public_key: bytes) -> bytearray:
        """ECDH of a transport pair and a peer's SPKI: Z, for the caller to overwrite.

        Raises `KeyNotFoundError` once the pair is gone.
        """

    def close_transport(self, key_id: bytes) -> None:
        """Destroy a transport pair, if it is there."""

    def combine(self, spec: KeySpec, components: Sequence[Opener], accept: Accept) -> Carried:
        """Make a resident AES key that is the XOR of two or more components."""

    def split(self, key_id: bytes, count: int) -> tuple[list[bytearray], CheckValues]:
        """Random components whose XOR is a resident extractable AES key.

        The caller overwrites them.
        """

    def open_envelope(
        self,
        transport_id: bytes,
        envelope: bytes,
        spec: KeySpec,
        accept: Accept,
        *,
        public_key: bytes = b"",
    ) -> Carried:
        """Take a key from CKM_RSA_AES_KEY_WRAP: RSA-OAEP (SHA-256) of an AES key, then AES-KWP.

        Raises `DataInvalidError`. For a pair see `KeyWrapper.unwrap`.
        """

    def seal_envelope(self, key_id: bytes, recipient: bytes) -> bytes:
        """Put a resident extractable key into such an envelope for an RSA public key (SPKI)."""


class Device(Signer, KeyMaker, KeyWrapper, KeyCarrier, Protocol):
    """One logged-in token."""

    @property
    def info(self) -> DeviceInfo: ...

    @property
    def unwraps(self) -> int:
        """Wrapped keys unwrapped so far: modules leak a little each time, so recycle."""

    def random(self, size: int) -> bytes: ...

    def verify(
        self, key: bytes | WrappedKey, mechanism: Mechanism, data: bytes, signature: bytes
    ) -> bool: ...

    def encrypt(
        self, key: bytes | WrappedKey, mechanism: Mechanism, plaintext: bytes, aad: bytes = b""
    ) -> bytes:
        """AES-GCM: a fresh 12-byte IV of the device's RNG || ciphertext || 16-byte tag."""

    def decrypt(
        self, key: bytes | WrappedKey, mechanism: Mechanism, ciphertext: bytes, aad: bytes = b""
    ) -> bytes: ...

    def mac(
        self, key: bytes | WrappedKey, mechanism: Mechanism, data: bytes, iv: bytes = b""
    ) -> bytes:
        """AES-CMAC (16 bytes), HMAC (32 bytes), or AES-GMAC over `data` with a 12-byte IV."""

    def derive(self, key: bytes | WrappedKey, peer_public_key: bytes) -> bytes:
        """ECDH with a peer's SPKI: Z, to be used and dropped behind the gate."""

    def seal_agreed(
        self, key: bytes | WrappedKey, agreement: Agreement, plaintext: bytes, aad: bytes
    ) -> Agreed:
        """ECDH (P-256), one-step KDF with SHA-256, AES-128-GCM: ciphertext || tag.

        Without plaintext that is a GMAC. Z is in the module, or overwritten after the call.
        """

    def open_agreed(
        self, key: bytes | WrappedKey, agreement: Agreement, sealed: bytes, aad: bytes
    ) -> Agreed:
        """The reverse. Raises `DataInvalidError` if the tag does not fit."""

    def inventory(self) -> list[ObjectRecord]:
        """Every object on the token that this login can see, ours and foreign."""

    def find(self, key_id: bytes) -> list[ObjectRecord]: ...

    def inspect(self, spec: KeySpec) -> MadeKey:
        """Read a resident key back and test it, as after its making.

        Raises `IntegrityError` if it is not exactly of this spec.
        """

    def put_data(self, label: str, value: bytes) -> None:
        """Write a private data object, then destroy older ones of that label: two are kept."""

    def get_data(self, label: str) -> list[bytes]:
        """The two values kept under this label at most, the newest first."""

    def close(self) -> None: ...
