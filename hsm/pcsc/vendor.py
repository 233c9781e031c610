"""Commands of makers, where a card's profile says that it has them: SP 800-73-4 has none of these.

The management key travels in clear in the one that sets it. Whoever relays that APDU sees it.
"""

from hsm.errors import CardObjectMissingError
from hsm.pcsc import tlv
from hsm.pcsc.apdu import SHORT_LE, Command
from hsm.pcsc.piv import PivAlgorithm, PivCard, PivSlot, Tag
from hsm.pcsc.profiles import YUBICO, CardProfile

SERIAL_SIZE = 4  # bytes
ATTESTER = 0x5FFF01  # the object with the certificate of the card's attestation key
SET_MANAGEMENT_KEY, GET_SERIAL, ATTEST = 0xFF, 0xF8, 0xF9


def serial(card: PivCard, profile: CardProfile) -> str:
    """The card's serial number in decimal, empty where its profile knows no way to ask."""
    if profile.serial != YUBICO:
        return ""
    answer = card.ask(Command(GET_SERIAL, 0, 0, le=SHORT_LE), "tell its serial number")
    return str(int.from_bytes(answer[:SERIAL_SIZE], "big"))


def set_management_key(card: PivCard, algorithm: PivAlgorithm, key: bytes) -> None:
    """Replace 9B. Wants the old one; no touch of the card is asked for."""
    data = bytes((algorithm, PivSlot.MANAGEMENT, len(key))) + key
    card.ask(Command(SET_MANAGEMENT_KEY, 0xFF, 0xFF, data), "take another management key")


def attest(card: PivCard, slot: PivSlot) -> tuple[bytes, ...]:
    """A certificate (DER) over a key that was made on the card, then that of who signed it.

    The second one is the card's own, by its maker; it is left out where the card has none.
    """
    statement = card.ask(Command(ATTEST, slot, 0, le=SHORT_LE), f"attest the key in slot {slot:X}")
    try:
        attester = tlv.template(card.get_data(ATTESTER)).get(Tag.CERTIFICATE, b"")
    except CardObjectMissingError:
        return (statement,)
    return (statement, attester)
