"""A key's life: the states of SP 800-57 part 1, section 7, and what each of them allows."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from uuid import UUID, uuid5

from hsm.types import Algorithm, KeyUsage, Mechanism, VerifyPolicy
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError, KeyStateError
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of

MAX_MODULE_LEVEL = 4  # of FIPS 140
_CLASS_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SERVICE_KEYS = UUID("6b657976-6175-4c74-9365-727669636573")


def service_key_id(name: str) -> bytes:
    """CKA_ID of one of the service's own keys: log, log-ed25519, session-ca, evidence, kek, mac."""
    return uuid5(_SERVICE_KEYS, name).bytes


MAX_KEKS = 64  # of the service's wrapping keys, one after another


def kek_name(number: int) -> str:
    """The name of the service's wrapping key of this number, from 1 on: kek, kek-2 and so on."""
    return "kek" if number == 1 else f"kek-{number}"


class KeyState(StrEnum):
    PRE_ACTIVE = "pre-active"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


# Every arrow, and no other. Who may take one, and when, is the business of access and approvals.
MOVES: dict[KeyState, frozenset[KeyState]] = {
    KeyState.PRE_ACTIVE: frozenset({KeyState.ACTIVE, KeyState.COMPROMISED, KeyState.DESTROYED}),
    KeyState.ACTIVE: frozenset(
        {KeyState.SUSPENDED, KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED}
    ),
    KeyState.SUSPENDED: frozenset(
        {KeyState.ACTIVE, KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED}
    ),
    KeyState.DEACTIVATED: frozenset({KeyState.COMPROMISED, KeyState.DESTROYED}),
    KeyState.COMPROMISED: frozenset({KeyState.DESTROYED}),
    KeyState.DESTROYED: frozenset(),
}


class Purpose(StrEnum):
    """SP 800-57: applying protection, or processing what was protected before."""

    PROTECT = "protect"
    PROCESS = "process"


# In which states a key serves a purpose.
USABLE: dict[Purpose, frozenset[KeyState]] = {
    Purpose.PROTECT: frozenset({KeyState.ACTIVE}),
    Purpose.PROCESS: frozenset({KeyState.ACTIVE, KeyState.DEACTIVATED}),
}


class Residence(StrEnum):
    """Where a key rests: in the token, or wrapped under a resident KEK in the database."""

    RESIDENT = "resident"
    WRAPPED = "wrapped"


@dataclass(frozen=True, slots=True)
class KeyClass:
    """A classification and what follows from it. Part of the signed authority.

    `guarded` keys are used only within an approved `allow-use`. `module_level` is the least
    level of FIPS 140 that the module has to be declared at, 0 where a test module will do.
    `location` is compared with what stands before the first comma of the module's.
    """

    name: str
    residence: Residence
    verify: VerifyPolicy
    extractable: bool = False
    guarded: bool = False
    module_level: int = 0
    retention_days: int = 2_557  # seven years: what destroyed keys leave behind is kept as long
    classification: str | None = None  # the organisation's own word, such as SECRET
    location: str | None = None  # where its module has to stand, such as UK; None for anywhere

    def __post_init__(self) -> None:
        if not _CLASS_NAME.fullmatch(self.name) or self.module_level > MAX_MODULE_LEVEL:
            raise InvalidInputError(
                "a key class has a name of 1 to 63 lower-case letters, digits or -, and a module "
                f"level from 0 to {MAX_MODULE_LEVEL}"
            )


@dataclass(frozen=True, slots=True)
class Key:
    """A key's metadata. No type of this service holds Secret Key Material in clear.

    `id` is the id of the request that ordered the key and, as 16 bytes, its CKA_ID.
    `version` rises with every change and is compared when anything about the key is committed.
    """

    id: UUID
    scope: Scope
    label: str
    algorithm: Algorithm
    usage: KeyUsage
    key_class: str
    residence: Residence
    verify: VerifyPolicy
    extractable: bool
    state: KeyState
    version: int
    created_at: datetime
    protect_until: datetime
    process_until: datetime
    owner: str = ""  # the person who ordered it and answers for it
    supersedes: UUID | None = None
    public_key: bytes = b""
    check_value: str = ""
    active_from: datetime | None = None
    compromised_at: datetime | None = None
    destroyed_at: datetime | None = None

    def terms(self) -> Document:
        """Return what stays as it is from the key's first day to its last."""
        digest = sha256(self.public_key).hexdigest() if self.public_key else ""
        texts = ("algorithm", "usage", "key_class", "residence", "verify", "check_value")
        return {
            **{name: str(getattr(self, name)) for name in texts},
            "extractable": self.extractable,
            "protect_until": text_of(self.protect_until),
            "process_until": text_of(self.process_until),
            "supersedes": str(self.supersedes or ""),
            "public_key_sha256": digest,
        }

    def to(self, state: KeyState, now: datetime) -> "Key":
        """Take one arrow of `MOVES`. Raises `KeyStateError`; the key itself never changes."""
        if state not in MOVES[self.state]:
            raise KeyStateError(
                f"a {self.state} key cannot become {state}",
                next_step=_allowed(self.state),
            )
        return replace(
            self,
            state=state,
            version=self.version + 1,
            active_from=self.active_from or (now if state is KeyState.ACTIVE else None),
            compromised_at=now if state is KeyState.COMPROMISED else self.compromised_at,
            destroyed_at=now if state is KeyState.DESTROYED else self.destroyed_at,
        )

    def check_use(self, purpose: Purpose, now: datetime) -> None:
        """Raise `KeyStateError` unless the key may be used at `now`. The clock decides, no job."""
        until = self.protect_until if purpose is Purpose.PROTECT else self.process_until
        if self.state not in USABLE[purpose]:
            raise KeyStateError(f"the key is {self.state}", next_step=_remedy(self.state))
        if self.active_from is None or now < self.active_from:
            raise KeyStateError("the key's activation date has not come")
        if now >= until:
            raise KeyStateError(
                f"the key's period to {purpose} ended at {until:%Y-%m-%d %H:%M:%S} UTC",
                next_step="order a successor",
            )


def _allowed(state: KeyState) -> str:
    names = sorted(MOVES[state])
    return f"from {state} a key can become: {', '.join(names)}" if names else "nothing follows"


def _remedy(state: KeyState) -> str:
    if state is KeyState.PRE_ACTIVE:
        return "ask for its activation: keyvault keys activate"
    if state is KeyState.SUSPENDED:
        return "ask for it to be resumed: keyvault keys resume"
    return "order a successor: keyvault keys order"


# Which mechanisms a use allows, and which of them apply protection.
MECHANISMS: dict[tuple[KeyUsage, Algorithm], Mechanism] = {
    (KeyUsage.SIGN, Algorithm.EC_P256): Mechanism.ECDSA,
    (KeyUsage.SIGN, Algorithm.EC_P384): Mechanism.ECDSA,
    (KeyUsage.SIGN, Algorithm.ED25519): Mechanism.EDDSA,
    (KeyUsage.SIGN, Algorithm.RSA_2048): Mechanism.RSA_PSS_SHA256,
    (KeyUsage.SIGN, Algorithm.RSA_3072): Mechanism.RSA_PSS_SHA256,
    (KeyUsage.SIGN, Algorithm.RSA_4096): Mechanism.RSA_PSS_SHA256,
    (KeyUsage.AGREE, Algorithm.EC_P256): Mechanism.ECDH,
    (KeyUsage.AGREE, Algorithm.EC_P384): Mechanism.ECDH,
    (KeyUsage.DECRYPT, Algorithm.RSA_2048): Mechanism.RSA_OAEP_SHA256,
    (KeyUsage.DECRYPT, Algorithm.RSA_3072): Mechanism.RSA_OAEP_SHA256,
    (KeyUsage.DECRYPT, Algorithm.RSA_4096): Mechanism.RSA_OAEP_SHA256,
    (KeyUsage.ENCRYPT, Algorithm.AES_128): Mechanism.AES_GCM,
    (KeyUsage.ENCRYPT, Algorithm.AES_192): Mechanism.AES_GCM,
    (KeyUsage.ENCRYPT, Algorithm.AES_256): Mechanism.AES_GCM,
    (KeyUsage.MAC, Algorithm.AES_128): Mechanism.AES_CMAC,
    (KeyUsage.MAC, Algorithm.AES_192): Mechanism.AES_CMAC,
    (KeyUsage.MAC, Algorithm.AES_256): Mechanism.AES_CMAC,
    (KeyUsage.MAC, Algorithm.HMAC_SHA256): Mechanism.HMAC_SHA256,
    (KeyUsage.GMAC, Algorithm.AES_128): Mechanism.AES_GMAC,
    (KeyUsage.GMAC, Algorithm.AES_192): Mechanism.AES_GMAC,
    (KeyUsage.GMAC, Algorithm.AES_256): Mechanism.AES_GMAC,
    (KeyUsage.WRAP, Algorithm.AES_128): Mechanism.AES_KWP,
    (KeyUsage.WRAP, Algorithm.AES_192): Mechanism.AES_KWP,
    (KeyUsage.WRAP, Algorithm.AES_256): Mechanism.AES_KWP,
}
_RSA_SIGN = frozenset({Mechanism.RSA_PSS_SHA256, Mechanism.RSA_PKCS1_SHA256})
DIGEST_SIZES: dict[Algorithm, tuple[int, ...]] = {
    Algorithm.EC_P256: (32,),
    Algorithm.EC_P384: (48,),
    Algorithm.RSA_2048: (32,),
    Algorithm.RSA_3072: (32,),
    Algorithm.RSA_4096: (32,),
}


def mechanism_for(key: Key, usage: KeyUsage, asked: Mechanism | None = None) -> Mechanism:
    """Choose the mechanism of a key for a use: its only one, or for RSA signatures the one asked.

    Raises `InvalidInputError` where the key's purpose or kind does not allow it.
    """
    if key.usage is not usage:
        raise InvalidInputError(
            f"this key is for {key.usage}, not for {usage}",
            next_step="one purpose per key (SP 800-57 part 1, 5.2): use another key",
        )
    default = MECHANISMS[key.usage, key.algorithm]
    allowed = _RSA_SIGN if default is Mechanism.RSA_PSS_SHA256 else frozenset({default})
    if asked is not None and asked not in allowed:
        raise InvalidInputError(
            f"{asked} does not go with this {key.algorithm} key",
            next_step=f"use one of: {', '.join(sorted(allowed))}",
        )
    return asked or default
