"""The words of the device floor: algorithms, uses, mechanisms and what a device says of itself.

Only the standard library is imported here, so that every other floor may speak these words.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Algorithm(StrEnum):
    """Kinds of key, with their size in the name."""

    EC_P256 = "EC-P256"
    EC_P384 = "EC-P384"
    ED25519 = "Ed25519"
    RSA_2048 = "RSA-2048"
    RSA_3072 = "RSA-3072"
    RSA_4096 = "RSA-4096"
    AES_128 = "AES-128"
    AES_192 = "AES-192"
    AES_256 = "AES-256"
    HMAC_SHA256 = "HMAC-SHA-256"

    @property
    def is_pair(self) -> bool:
        """Whether a key of this kind has a public half."""
        return self in PAIRS


PAIRS = frozenset(
    {
        Algorithm.EC_P256,
        Algorithm.EC_P384,
        Algorithm.ED25519,
        Algorithm.RSA_2048,
        Algorithm.RSA_3072,
        Algorithm.RSA_4096,
    }
)


class KeyUsage(StrEnum):
    """The one purpose of a key (SP 800-57 part 1, 5.2: a key shall be used for one purpose)."""

    SIGN = "sign"
    AGREE = "agree"
    DECRYPT = "decrypt"  # RSA-OAEP; the public half encrypts
    ENCRYPT = "encrypt"  # AES-GCM, both directions
    MAC = "mac"  # AES-CMAC or HMAC, both directions
    GMAC = "gmac"  # AES-GCM without plaintext, so PKCS#11 calls it encryption
    WRAP = "wrap"  # AES-KWP, both directions


class Mechanism(StrEnum):
    """What a key does once. Signatures take a digest unless said otherwise."""

    ECDSA = "ECDSA"  # raw r || s, as GBCS wants it
    RSA_PKCS1_SHA256 = "RSA-PKCS1-SHA256"
    RSA_PSS_SHA256 = "RSA-PSS-SHA256"  # MGF1 with SHA-256, salt of 32 bytes
    EDDSA = "EdDSA"  # takes the whole message
    ECDH = "ECDH"  # the shared secret Z, null KDF
    RSA_OAEP_SHA256 = "RSA-OAEP-SHA256"
    AES_GCM = "AES-GCM"  # 12-byte IV, 16-byte tag
    AES_GMAC = "AES-GMAC"
    AES_CMAC = "AES-CMAC"
    HMAC_SHA256 = "HMAC-SHA256"
    AES_KWP = "AES-KWP"  # SP 800-38F
    RANDOM = "RANDOM"


USAGES: dict[Algorithm, frozenset[KeyUsage]] = {
    Algorithm.EC_P256: frozenset({KeyUsage.SIGN, KeyUsage.AGREE}),
    Algorithm.EC_P384: frozenset({KeyUsage.SIGN, KeyUsage.AGREE}),
    Algorithm.ED25519: frozenset({KeyUsage.SIGN}),
    Algorithm.RSA_2048: frozenset({KeyUsage.SIGN, KeyUsage.DECRYPT}),
    Algorithm.RSA_3072: frozenset({KeyUsage.SIGN, KeyUsage.DECRYPT}),
    Algorithm.RSA_4096: frozenset({KeyUsage.SIGN, KeyUsage.DECRYPT}),
    Algorithm.AES_128: frozenset({KeyUsage.ENCRYPT, KeyUsage.MAC, KeyUsage.GMAC, KeyUsage.WRAP}),
    Algorithm.AES_192: frozenset({KeyUsage.ENCRYPT, KeyUsage.MAC, KeyUsage.GMAC, KeyUsage.WRAP}),
    Algorithm.AES_256: frozenset({KeyUsage.ENCRYPT, KeyUsage.MAC, KeyUsage.GMAC, KeyUsage.WRAP}),
    Algorithm.HMAC_SHA256: frozenset({KeyUsage.MAC}),
}


class VerifyPolicy(StrEnum):
    """How often a signature is checked with a second implementation before it is released."""

    ALWAYS = "always"
    SAMPLED = "sampled"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What to make. `key_id` is the CKA_ID, 16 bytes, chosen by the caller beforehand."""

    key_id: bytes
    label: str
    algorithm: Algorithm
    usage: KeyUsage
    extractable: bool = False
    trusted: bool = False  # a KEK that may wrap keys marked WRAP_WITH_TRUSTED


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key that rests outside the token: AES-KWP under a resident KEK, its metadata MACed.

    `mac` covers every other field, under a resident MAC key (HMAC-SHA-256 or AES-CMAC).
    `public_key` is the SPKI in DER for a pair, empty for a secret key.
    """

    spec: KeySpec
    blob: bytes
    kek_id: bytes
    mac_key_id: bytes
    mac: bytes
    public_key: bytes = b""


@dataclass(frozen=True, slots=True)
class Agreement:
    """A key for one message: agreed on with a peer (its SPKI), told apart by `other_info`.

    `other_info` and `iv` (12 bytes) are public; `tag_size` is 12 to 16 bytes.
    """

    peer_public_key: bytes
    other_info: bytes
    iv: bytes
    tag_size: int = 12


@dataclass(frozen=True, slots=True)
class Agreed:
    """What such a key made of the data, and whether it was ever outside the module."""

    data: bytes
    in_module: bool


@dataclass(frozen=True, slots=True)
class MadeKey:
    """What the device says of a key that it has just made, read back and tested.

    `public_key` is the SPKI in DER for a pair; `check_value` the first 3 bytes of an AES-CMAC over
    a zero block (or of an HMAC over the empty message) in hex for a secret key. A KEK can do
    neither: its check value is of AES-KWP over 8 zero bytes. Empty where the module allows none.
    `proof` is what a key-agreement key signed at its birth, raw r || s, if it was asked to.
    """

    spec: KeySpec
    public_key: bytes = b""
    check_value: str = ""
    wrapped: WrappedKey | None = None
    attributes: dict[str, bool | int | str] = field(default_factory=dict)
    proof: bytes = b""


@dataclass(frozen=True, slots=True)
class CheckValues:
    """What tells an AES key from others, first 3 bytes in hex, in the two styles that are in use.

    `cmac` is of AES-CMAC over a zero block (ANSI X9.24-1:2017), `ecb` of the block encrypted.
    """

    cmac: str
    ecb: str


@dataclass(frozen=True, slots=True)
class Carried:
    """A key that people carried in. `check` is empty but for AES keys.

    `in_module` says that it was put together inside the module, and not in this process.
    """

    made: MadeKey
    check: CheckValues
    in_module: bool


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One object found on a token, ours or foreign. Never a value, only attributes."""

    object_class: str  # PRIVATE_KEY, PUBLIC_KEY, SECRET_KEY, DATA, CERTIFICATE …
    key_id: bytes
    label: str
    key_type: str
    attributes: dict[str, bool | int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What a token, its slot and its library say of themselves."""

    uri: str
    module: str  # path of the library
    module_sha256: str  # hex digest of the library file
    manufacturer: str
    model: str
    serial: str
    label: str
    library: str  # library description and version
    firmware: str
    mechanisms: tuple[Mechanism, ...]  # those that were probed and work
    algorithms: tuple[Algorithm, ...]  # those that can be generated

    @property
    def is_softhsm(self) -> bool:
        """SoftHSM is for development: it is no validated module, whatever is declared of it."""
        return "softhsm" in f"{self.manufacturer} {self.model}".lower()
