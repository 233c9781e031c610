"""A person's keys on a PIV card: what signs logins (slot 9A) and approvals (slot 9C).

Slot 9D opens what was sealed for them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, TypeGuard

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from hsm.errors import (
    CardDataError,
    CardError,
    CardForeignError,
    CardObjectMissingError,
    DataInvalidError,
)
from hsm.pcsc.apdu import COMMAND_SECONDS, Channel
from hsm.pcsc.piv import PivCard, PivSlot, PublicKey, public_key_of
from hsm.pcsc.reader import PcscCard

# Asked once a signature, with the tries that are left, before the card hears anything of a PIN.
PinPrompt = Callable[[int], bytes | bytearray]
SIGNING = (PivSlot.AUTHENTICATION, PivSlot.SIGNATURE)


@dataclass(frozen=True, slots=True)
class CardKeys:
    """The public keys (SPKI, DER) of a card's two slots that sign for people, or why not.

    A slot counts as empty or foreign only if the card says so in good form; what is malformed
    spoils the card.
    """

    found: Mapping[PivSlot, bytes | CardError]

    @classmethod
    def of_card(cls, reader: str, *, seconds: float = COMMAND_SECONDS) -> "CardKeys":
        """Read both certificates; no PIN is asked for. Raises every `CardError`."""
        with PcscCard(reader, seconds) as transport:
            card = PivCard(Channel(transport, seconds=seconds))
            return cls({slot: _key_or_reason(card, slot) for slot in SIGNING})

    def key(self, slot: PivSlot) -> bytes:
        """Raises `CardObjectMissingError`, or `CardForeignError` at a key not of P-256."""
        found = self.found[slot]
        if isinstance(found, CardError):
            raise found
        return found


class PivCredential:
    """Signs with one slot of the card in one reader: ECDSA P-256 with SHA-256, in DER.

    A key of P-384 signs with SHA-384: files, for a person's own key is of P-256.

    Every signature is a session of its own with its own PIN: the card is opened exclusively and
    reset, must show the key that is pinned here before the PIN is asked for, and is reset again.
    Nothing is kept between, so a card may be pulled and put back. The card itself wants the PIN
    once a session for 9A, and for 9C in front of each signature (SP 800-73-4 part 1, table 4b).
    """

    def __init__(
        self,
        reader: str,
        slot: PivSlot,
        spki: bytes,
        ask_pin: PinPrompt,
        *,
        seconds: float = COMMAND_SECONDS,
    ) -> None:
        """`spki` is the enrolled key in DER; `seconds` the deadline of each command."""
        self._reader = reader
        self._slot = slot
        key = _public_key(spki)
        self._key = key if _is_p384(key) else _p256(slot, key)
        self._ask_pin = ask_pin
        self._seconds = seconds

    @classmethod
    def of_card(
        cls, reader: str, slot: PivSlot, ask_pin: PinPrompt, *, seconds: float = COMMAND_SECONDS
    ) -> Self:
        """Pin the key of the certificate that the card holds now."""
        with PcscCard(reader, seconds) as transport:
            card = PivCard(Channel(transport, seconds=seconds))
            key = public_key_of(card.certificate(slot))
        return cls(reader, slot, _spki(key), ask_pin, seconds=seconds)

    @property
    def spki(self) -> bytes:
        return _spki(self._key)

    @property
    def slot(self) -> PivSlot:
        return self._slot

    def sign(self, message: bytes) -> bytes:
        """Return a signature that was checked under `spki`.

        Raises `CardForeignError` at another card, `PinIncorrectError`, `PinLockedError`,
        `IntegrityError`, and every other `CardError`.
        """
        with self._opened() as card:
            return card.sign(self._slot, self._key, message)

    def agree(self, peer: bytes) -> bytes:
        """ECDH with `peer` (P-256, SPKI): Z, 32 bytes, of a session of its own as `sign` has it.

        Slot 9D is made for it: what was sealed to its key is opened with `keyvault.sealed`.
        """
        with self._opened() as card:
            return card.agree(self._slot, self._key, _p256(self._slot, _public_key(peer)))

    @contextmanager
    def _opened(self) -> Iterator[PivCard]:
        """The card, recognised, with its PIN given."""
        with PcscCard(self._reader, self._seconds) as transport:
            card = PivCard(Channel(transport, seconds=self._seconds))
            self._recognise(card)
            tries = card.tries_left()
            if tries is None:
                raise CardDataError(
                    "the card takes a PIN for verified that nobody has given",
                    next_step="Do not use this card: it does not protect its key.",
                )
            card.verify_pin(self._ask_pin(tries))
            yield card

    def _recognise(self, card: PivCard) -> None:
        found = public_key_of(card.certificate(self._slot))
        if _spki(found) != self.spki:
            raise CardForeignError(
                f"the card in {self._reader} holds another key than the enrolled one",
                next_step="Put your own card in.",
            )


def _key_or_reason(card: PivCard, slot: PivSlot) -> bytes | CardError:
    try:
        return _spki(_p256(slot, public_key_of(card.certificate(slot))))
    except (CardObjectMissingError, CardForeignError) as error:
        return error


def _public_key(spki: bytes) -> PublicKey:
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise DataInvalidError("not a public key in DER") from error
    if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return key
    raise CardForeignError("the key is neither an EC nor an RSA key")


def _is_p384(key: PublicKey) -> TypeGuard[ec.EllipticCurvePublicKey]:
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)


def _p256(slot: PivSlot, key: PublicKey) -> ec.EllipticCurvePublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    kind = f"RSA-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else key.curve.name
    raise CardForeignError(
        f"slot {slot:X} holds a key of {kind}, and people sign with keys of P-256",
        next_step="Use a slot, or a card, with a key of P-256.",
    )


def _spki(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
