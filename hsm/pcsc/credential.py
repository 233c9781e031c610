"""A person's key on a PIV card, as what signs logins (slot 9A) and approvals (slot 9C)."""

from collections.abc import Callable
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from hsm.errors import CardDataError, CardForeignError, DataInvalidError
from hsm.pcsc.apdu import COMMAND_SECONDS, Channel
from hsm.pcsc.piv import PivCard, PivSlot, PublicKey, public_key_of
from hsm.pcsc.reader import PcscCard

# Asked once a signature, with the tries that are left, before the card hears anything of a PIN.
PinPrompt = Callable[[int], bytes | bytearray]


class PivCredential:
    """Signs with one slot of the card in one reader: ECDSA P-256 with SHA-256, in DER.

    Every signature is a session of its own with its own PIN: the card is opened exclusively and
    reset, must show the key that is pinned here before the PIN is asked for, and is reset again.
    Nothing is kept between, so a card may be pulled and put back.
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
        self._key = _p256(spki)
        self._ask_pin = ask_pin
        self._seconds = seconds

    @classmethod
    def of_card(
        cls, reader: str, slot: PivSlot, ask_pin: PinPrompt, *, seconds: float = COMMAND_SECONDS
    ) -> Self:
        """Pin the key of the certificate that the card holds now, as for an enrolment."""
        with PcscCard(reader, seconds) as transport:
            card = PivCard(Channel(transport, seconds=seconds))
            key = public_key_of(card.certificate(slot))
        return cls(reader, slot, _spki(key), ask_pin, seconds=seconds)

    @property
    def spki(self) -> bytes:
        return _spki(self._key)

    def sign(self, message: bytes) -> bytes:
        """Return a signature that was checked under `spki`.

        Raises `CardForeignError` at another card, `PinIncorrectError`, `PinLockedError`,
        `IntegrityError`, and every other `CardError`.
        """
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
            return card.sign(self._slot, self._key, message)

    def _recognise(self, card: PivCard) -> None:
        found = public_key_of(card.certificate(self._slot))
        if _spki(found) != self.spki:
            raise CardForeignError(
                f"the card in {self._reader} holds another key than the enrolled one",
                next_step="Put your own card in.",
            )


def _p256(spki: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise DataInvalidError("not a public key in DER") from error
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise CardForeignError(
        "the key is not of P-256", next_step="Use a slot, or a card, with a key of P-256."
    )


def _spki(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
