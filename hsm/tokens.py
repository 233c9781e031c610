"""What an issuer asks of a credential token, whatever kind it is: a PIV card, a PKCS#11 token.

Each method may be repeated after a token was pulled in the middle of it, and then comes to the
same end. A driver keeps nothing: what was begun and what was made is its caller's journal.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hmac import compare_digest
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from hsm.errors import CardForeignError, TokenSpoiledError


class TokenSlot(StrEnum):
    """Keys of a token by their use; the name is that of SP 800-73-4's slot."""

    AUTHENTICATION = "9A"
    SIGNATURE = "9C"
    KEY_MANAGEMENT = "9D"


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a token says of itself. `guid` is that of an issue (hex), empty on a blank one."""

    model: str
    serial: str = ""
    guid: str = ""
    firmware: str = ""
    tries: int | None = None  # of its PIN; None where the token does not say
    certificate: str = ""  # number of its model's FIPS 140 certificate
    channel: bool = False  # what is said to it goes through a secure channel


@dataclass(frozen=True, slots=True)
class SecretChange:
    """A PIN, PUK or SO-PIN that gives way to another. Never shown.

    `begun` counts the tries before this one: after the first the new one may be there already.
    """

    old: bytes
    new: bytes
    begun: int = 0

    def __repr__(self) -> str:
        return f"SecretChange(begun={self.begun})"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is to guard the token from now on."""

    pin: SecretChange
    puk: SecretChange  # of a PKCS#11 token: its SO-PIN

    def __repr__(self) -> str:
        return "Secrets()"


@dataclass(frozen=True, slots=True)
class IssuerSignatures:
    """What an issuer signed of a card (CMS, DER): its identity, and the hashes of its objects.

    Empty where nothing of it is signed.
    """

    chuid: bytes = b""
    security: bytes = b""


UNSIGNED = IssuerSignatures()


class TokenDriver(Protocol):
    """Raises `CardError` of these kinds.

    `CardRemovedError` and `CardMuteError` where a step may have been done or not,
    `CardForeignError` at another token, `TokenSpoiledError` where nothing helps.
    """

    def identify(self) -> TokenFacts: ...

    def take_over(self, *, begun: bool, taken: bool) -> str:
        """Make the token obey our own administrator alone; return how it does now.

        `begun`: this was tried before. `taken`: it was done before, so that a token that still
        obeys its factory's is another one.
        """

    def make_key(self, slot: TokenSlot, algorithm: str) -> bytes:
        """Make a key pair on the token and return its SPKI; the one before it is gone."""

    def attest(self, slot: TokenSlot) -> tuple[bytes, ...]:
        """The token's own statement (X.509, DER) that it made this key, then who signed it.

        Empty for a model that makes no such statements.
        """

    def sign(self, slot: TokenSlot, spki: bytes, message: bytes, secrets: Secrets) -> bytes:
        """Sign with the PIN that is on the token now; the signature is checked under `spki`."""

    def agree(self, slot: TokenSlot, spki: bytes, peer: bytes, secrets: Secrets) -> bytes:
        """ECDH of the slot's key with `peer` (SPKI of its curve), with the PIN as `sign` has it."""

    @property
    def signed_room(self) -> int:
        """Bytes that one signed object may have on it; 0 where none has its place there."""

    def load(
        self,
        guid: bytes,
        certificates: Mapping[TokenSlot, bytes],
        signed: IssuerSignatures = UNSIGNED,
    ) -> dict[str, str]:
        """Write what differs, read all of it back; return the SHA-256 of each object."""

    def secure(self, secrets: Secrets) -> None:
        """Replace PUK and PIN. Costs a try at most, which success gives back."""

    def prove(
        self, secrets: Secrets, keys: Mapping[TokenSlot, bytes], nonce: bytes
    ) -> dict[TokenSlot, bytes]:
        """After a reset: sign with each key under the new PIN, and prove the old secrets dead.

        A key to agree with signs nothing: it agrees with a fresh key made here, or is spoiled.

        Those are the factory's PIN, PUK and administrator: one try each, which is given back.
        """

    def wipe(self) -> None:
        """Overwrite keys, take certificates away and block what can be blocked."""


class FinishedToken(Protocol):
    """A token that was issued and recognised, as its service afterwards needs it."""

    @property
    def factory_pin(self) -> bytes:
        """The PIN that the model comes with; empty where there is none."""

    def takes(self, pin: bytes) -> bool:
        """Whether this is its PIN: a try, which the right one gives back."""

    def prove_pin_dead(self, given: Mapping[str, bytes], own: Callable[[], None]) -> None:
        """Try each PIN that is to be dead; `own` has the holder give theirs after each.

        Raises `CardRefusedError` at one that the token still takes.
        """

    def unblock(self, puk: SecretChange, pin: bytes) -> None:
        """Replace the PUK, and set a PIN by the new one."""

    def unblock_by(self, puk: bytes, pin: bytes) -> None:
        """Set a PIN by the PUK as it is, where no other may be shown."""

    def replace_puk(self, puk: SecretChange) -> None: ...

    def wipe(self) -> None:
        """Leave nothing of its holder."""


def check_agreement(spki: bytes, agree: Callable[[bytes], bytes]) -> None:
    """Have the token agree with a key made just now; raise `TokenSpoiledError` if it cannot.

    Only who has the private half of `spki` comes to the same as we do.
    """
    key = load_der_public_key(spki)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CardForeignError("a key to agree with is of an elliptic curve")
    fresh = ec.generate_private_key(key.curve)
    peer = fresh.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if not compare_digest(agree(peer), fresh.exchange(ec.ECDH(), key)):
        raise TokenSpoiledError("the token does not have the key that it says it made in 9D")
