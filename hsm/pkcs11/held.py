"""A key whose handle we hold, and what it does once."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pkcs11 import Attribute, GCMParams, KeyType
from pkcs11 import Mechanism as Ckm
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import KDF, MGF

from hsm.errors import DataInvalidError, KeyUnusableError, MechanismUnsupportedError
from hsm.pkcs11 import spki
from hsm.pkcs11.errors import of_exception
from hsm.pkcs11.library import TAG_SIZE, Functions
from hsm.pkcs11.templates import RSA_BITS
from hsm.pkcs11.vendors import Vendor
from hsm.types import Algorithm, KeySpec, KeyUsage, Mechanism, VerifyPolicy, WrappedKey

IV_SIZE = 12
# DER of DigestInfo for SHA-256 (RFC 8017, 9.2): CKM_RSA_PKCS pads, but does not name the digest.
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
EC = frozenset({Algorithm.EC_P256, Algorithm.EC_P384})
RSA = frozenset({Algorithm.RSA_2048, Algorithm.RSA_3072, Algorithm.RSA_4096})
AES = frozenset({Algorithm.AES_128, Algorithm.AES_192, Algorithm.AES_256})
# Which keys, of which one purpose, a mechanism works with.
RULES: dict[Mechanism, tuple[frozenset[Algorithm], KeyUsage]] = {
    Mechanism.ECDSA: (EC, KeyUsage.SIGN),
    Mechanism.RSA_PKCS1_SHA256: (RSA, KeyUsage.SIGN),
    Mechanism.RSA_PSS_SHA256: (RSA, KeyUsage.SIGN),
    Mechanism.EDDSA: (frozenset({Algorithm.ED25519}), KeyUsage.SIGN),
    Mechanism.ECDH: (EC, KeyUsage.AGREE),
    Mechanism.RSA_OAEP_SHA256: (RSA, KeyUsage.DECRYPT),
    Mechanism.AES_GCM: (AES, KeyUsage.ENCRYPT),
    Mechanism.AES_GMAC: (AES, KeyUsage.GMAC),
    Mechanism.AES_CMAC: (AES, KeyUsage.MAC),
    Mechanism.HMAC_SHA256: (frozenset({Algorithm.HMAC_SHA256}), KeyUsage.MAC),
    Mechanism.AES_KWP: (AES, KeyUsage.WRAP),
}
DIGEST_SIZES = {
    Algorithm.EC_P256: frozenset({32}),
    Algorithm.EC_P384: frozenset({32, 48}),
    **dict.fromkeys(RSA, frozenset({32})),
}
SAMPLE = 16  # of so many signatures, one is checked; it divides 256
SIGNATURE_SIZE = 512  # bytes of the longest one, RSA-4096's
# What python-pkcs11 is told, and what stands before the data.
_SIGNING: dict[Mechanism, tuple[dict[str, Any], bytes]] = {
    Mechanism.ECDSA: ({"mechanism": Ckm.ECDSA}, b""),
    Mechanism.EDDSA: ({"mechanism": Ckm.EDDSA}, b""),
    Mechanism.RSA_PKCS1_SHA256: ({"mechanism": Ckm.RSA_PKCS}, DIGEST_INFO),
    Mechanism.RSA_PSS_SHA256: (
        {"mechanism": Ckm.RSA_PKCS_PSS, "mechanism_param": (Ckm.SHA256, MGF.SHA256, 32)},
        b"",
    ),
}
# The largest message: a frame of the gate is far smaller, and a module's buffers end somewhere.
MAX_DATA = 1 << 20


@dataclass(slots=True)
class Held:
    """A key by its handles. `secret` is the private or secret key object of python-pkcs11."""

    spec: KeySpec
    secret: Any
    vendor: Vendor
    functions: Functions | None
    public: spki.PublicKey | None = None
    wrapped: WrappedKey | None = None
    signers: dict[Mechanism, Callable[[bytes], bytes]] = field(init=False, default_factory=dict)

    @property
    def public_der(self) -> bytes:
        if self.public is None:
            raise KeyUnusableError(f"a key of {self.spec.algorithm} has no public half")
        return spki.dump(self.public)

    def allow(self, mechanism: Mechanism) -> None:
        """Raises `KeyUnusableError` unless this is the one purpose of the key."""
        algorithms, usage = RULES.get(mechanism, (frozenset[Algorithm](), None))
        if self.spec.algorithm not in algorithms or self.spec.usage is not usage:
            raise KeyUnusableError(
                f"a key of {self.spec.algorithm} to {self.spec.usage} does no {mechanism}",
                next_step="Use a key that was made for this; a key has one purpose for life.",
            )

    def sign(self, mechanism: Mechanism, data: bytes) -> bytes:
        return self.signer(mechanism)(data)

    def signer(self, mechanism: Mechanism) -> Callable[[bytes], bytes]:
        """Return what signs one digest or message, once it is known that the key may."""
        known = self.signers.get(mechanism)
        if known is None:
            known = self.signers[mechanism] = self._signer(mechanism)
        return known

    def _signer(self, mechanism: Mechanism) -> Callable[[bytes], bytes]:
        self.allow(mechanism)
        sizes = DIGEST_SIZES.get(self.spec.algorithm)
        how, prefix = _SIGNING[mechanism]
        sign = partial(self.secret.sign, buffer_size=SIGNATURE_SIZE, **how)

        def signed(data: bytes) -> bytes:
            if sizes and len(data) not in sizes:
                raise DataInvalidError(
                    f"a digest of {sorted(sizes)} bytes is wanted, not of {len(data)}",
                    next_step="Hash the message with SHA-256 or, for P-384, SHA-384.",
                )
            if not sizes:
                capped(data)
            return sign(prefix + data)  # type: ignore[no-any-return]

        return signed

    def mac(self, mechanism: Mechanism, data: bytes, iv: bytes = b"") -> bytes:
        self.allow(mechanism)
        capped(data)
        if mechanism is Mechanism.AES_GMAC:
            if len(iv) != IV_SIZE:
                raise DataInvalidError(f"GMAC wants an IV of {IV_SIZE} bytes, not of {len(iv)}")
            return self._gcm(b"", iv, data)
        number = Ckm.AES_CMAC if mechanism is Mechanism.AES_CMAC else Ckm.SHA256_HMAC
        return self.secret.sign(data, mechanism=number)  # type: ignore[no-any-return]

    def encrypt(self, mechanism: Mechanism, plaintext: bytes, aad: bytes, iv: bytes) -> bytes:
        self.allow(mechanism)
        capped(plaintext, aad)
        if mechanism is Mechanism.AES_GCM:
            return iv + self._gcm(plaintext, iv, aad)
        if not isinstance(self.public, RSAPublicKey) or aad:
            raise DataInvalidError("RSA-OAEP takes no additional data")
        try:  # a public key needs no device
            return self.public.encrypt(plaintext, spki.OAEP)
        except ValueError as error:
            raise DataInvalidError("the plaintext is too long for RSA-OAEP") from error

    def decrypt(self, mechanism: Mechanism, ciphertext: bytes, aad: bytes) -> bytes:
        self.allow(mechanism)
        capped(ciphertext, aad)
        if mechanism is Mechanism.AES_GCM:
            if len(ciphertext) < IV_SIZE + TAG_SIZE:
                raise DataInvalidError("the ciphertext is shorter than its IV and tag")
            return self.opened(ciphertext[IV_SIZE:], ciphertext[:IV_SIZE], aad, TAG_SIZE)
        size = RSA_BITS[self.spec.algorithm] // 8
        if aad or len(ciphertext) != size:
            raise DataInvalidError(f"RSA-OAEP takes {size} bytes here and no additional data")
        return self._decrypt(ciphertext, Ckm.RSA_PKCS_OAEP, (Ckm.SHA256, MGF.SHA256, None))

    def opened(self, sealed: bytes, iv: bytes, aad: bytes, tag_size: int) -> bytes:
        """AES-GCM: what is in ciphertext || tag. Raises `DataInvalidError`."""
        return self._decrypt(sealed, Ckm.AES_GCM, GCMParams(iv, aad or None, 8 * tag_size))

    def derive(self, peer_public_key: bytes) -> bytes:
        """ECDH (SP 800-56A): Z, left-padded to the size of the curve."""
        return bytes(self.shared_secret(peer_public_key))

    def shared_secret(self, peer_public_key: bytes) -> bytearray:
        """The same Z, in a buffer that its owner overwrites."""
        self.allow(Mechanism.ECDH)
        peer = spki.load(peer_public_key, self.spec.algorithm)
        size = spki.NAMED_CURVES[self.spec.algorithm].key_size
        secret = self.secret.derive_key(
            KeyType.GENERIC_SECRET,
            size,
            mechanism=Ckm.ECDH1_DERIVE,
            mechanism_param=(KDF.NULL, None, spki.point(peer)),
            capabilities=0,
            template={
                Attribute.TOKEN: False,
                Attribute.SENSITIVE: False,
                Attribute.EXTRACTABLE: True,
            },
        )
        try:
            return self.value(secret, size // 8)
        finally:
            secret.destroy()

    def value(self, secret: Any, size: int) -> bytearray:
        """CKA_VALUE of an object that may be read, in a buffer that its owner overwrites."""
        if self.functions:
            return self.functions.value(self.secret.session.handle, secret.handle, size)
        return bytearray(bytes(secret[Attribute.VALUE]).rjust(size, b"\0"))

    def verifies(self, mechanism: Mechanism, data: bytes, signature: bytes) -> bool:
        """Check a signature outside the device; a key without a public half has made none."""
        return self.public is not None and spki.verifies(self.public, mechanism, data, signature)

    def wrap(self, other: Any) -> bytes:
        """Wrap an extractable key object with AES-KWP."""
        self.allow(Mechanism.AES_KWP)
        if self.functions and self.vendor.misstates_sizes:
            session, handle = self.secret.session.handle, self.secret.handle
            return self.functions.wrap(session, handle, other.handle, self.vendor.kwp)
        return self.secret.wrap_key(other, mechanism=self.vendor.kwp)  # type: ignore[no-any-return]

    def refused(self, error: PKCS11Error) -> bool:
        """Whether the module means bad data by this, in its own words or the standard's."""
        ours = of_exception(error)
        return isinstance(ours, DataInvalidError) or ours.cause in self.vendor.refusals

    def _gcm(self, plaintext: bytes, iv: bytes, aad: bytes) -> bytes:
        if self.functions and self.vendor.misstates_sizes:
            session, handle = self.secret.session.handle, self.secret.handle
            return self.functions.encrypt_gcm(session, handle, iv, aad, plaintext)
        param = GCMParams(iv, aad or None, 8 * TAG_SIZE)
        return self.secret.encrypt(  # type: ignore[no-any-return]
            plaintext, mechanism=Ckm.AES_GCM, mechanism_param=param
        )

    def _decrypt(self, data: bytes, number: Ckm, param: Any) -> bytes:
        try:
            return self.secret.decrypt(  # type: ignore[no-any-return]
                data, mechanism=number, mechanism_param=param
            )
        except PKCS11Error as error:
            if self.refused(error):
                raise DataInvalidError(
                    "the ciphertext or its tag was refused", cause=of_exception(error).cause
                ) from error
            raise


def uses_of(spec: KeySpec) -> list[Mechanism]:
    """What a key of this spec could do."""
    return [
        m
        for m, (algorithms, use) in RULES.items()
        if spec.algorithm in algorithms and use is spec.usage
    ]


# A system call for each byte would be felt.
_CHANCE = chain.from_iterable(iter(partial(os.urandom, 256), b""))


def due(policy: VerifyPolicy) -> bool:
    """Whether to check this signature. A module cannot foresee which one is sampled."""
    if policy is VerifyPolicy.SAMPLED:
        return next(_CHANCE) % SAMPLE == 0
    return policy is VerifyPolicy.ALWAYS


def mac_mechanism(algorithm: Algorithm) -> Mechanism:
    """The one MAC that a key of this algorithm and of usage MAC makes."""
    if algorithm in AES:
        return Mechanism.AES_CMAC
    if algorithm is Algorithm.HMAC_SHA256:
        return Mechanism.HMAC_SHA256
    raise MechanismUnsupportedError(f"a key of {algorithm} makes no MAC")


def capped(*data: bytes) -> None:
    if sum(map(len, data)) > MAX_DATA:
        raise DataInvalidError(f"at most {MAX_DATA} bytes go to the device at once")
