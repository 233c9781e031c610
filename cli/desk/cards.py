"""A PIV card in a reader as what signs for a person; its PIN is asked for each signature.

Slot 9A opens sessions and slot 9C decides (docs/adr/0023); 9D opens what was sealed to it. Where a
PKCS#11 URI stands in the place of a reader's name, it is a USB token.
"""

from collections.abc import Collection

from cli.confirm import spelled
from cli.errors import UsageError
from cli.output import say
from cli.passphrases import Secrets
from hsm.errors import (
    CardAbsentError,
    CardError,
    CardForeignError,
    CardObjectMissingError,
    ReaderNotFoundError,
)
from hsm.pcsc.credential import SIGNING, CardKeys, PinPrompt, PivCredential
from hsm.pcsc.piv import PivSlot
from hsm.pcsc.reader import list_readers
from hsm.tokens import TokenSlot
from hsm.usb_holder import SCHEME, UsbCredential, UsbKeys

LAST = "last try"


def keys_on(reader: str) -> CardKeys:
    """The public keys on the card in this reader, or in the only one that holds a card."""
    if reader.startswith(SCHEME):
        found = UsbKeys.of_uri(reader)
        return CardKeys({slot: _key_or_reason(found, slot) for slot in SIGNING})
    return CardKeys.of_card(_named(reader))


def _key_or_reason(found: UsbKeys, slot: PivSlot) -> bytes | CardError:
    try:
        return found.key(_token_slot(slot))
    except (CardObjectMissingError, CardForeignError) as error:
        return error


def _token_slot(slot: PivSlot) -> TokenSlot:
    return TokenSlot(f"{slot:X}")


def login_key(keys: CardKeys) -> bytes | None:
    """The key of slot 9A. None, and a word why, where people cannot sign with it."""
    try:
        return keys.key(PivSlot.AUTHENTICATION)
    except CardObjectMissingError:
        why = "slot 9A of the card holds no certificate"
    except CardForeignError as error:
        why = str(error)
    say(f"{why}: slot 9C logs in, too")
    return None


def to_decide(
    reader: str, secrets: Secrets, keys: Collection[bytes]
) -> PivCredential | UsbCredential:
    """Slot 9C. Another card than one of `keys` (SPKI) is refused before its PIN is asked for."""
    found = _opened(reader, secrets, PivSlot.SIGNATURE)
    if found.spki not in keys:
        raise CardForeignError(
            f"{_called(reader)} holds another key than the enrolled one",
            next_step="Put your own card in.",
        )
    return found


def to_log_in(reader: str, secrets: Secrets, slot: PivSlot | None) -> PivCredential | UsbCredential:
    """Open the slot that is given, or without one 9A where it can be used, else 9C."""
    keys = keys_on(reader)
    if slot is None:
        slot = PivSlot.AUTHENTICATION if login_key(keys) else PivSlot.SIGNATURE
    return _opened(reader, secrets, slot)


def to_open(reader: str, secrets: Secrets) -> PivCredential | UsbCredential:
    """Slot 9D, for what was sealed to its key. Raises `CardObjectMissingError` if it is empty."""
    return _opened(reader, secrets, PivSlot.KEY_MANAGEMENT)


def _opened(reader: str, secrets: Secrets, slot: PivSlot) -> PivCredential | UsbCredential:
    if reader.startswith(SCHEME):
        found = UsbKeys.of_uri(reader)
        return found.credential(_token_slot(slot), lambda: secrets.next("PIN of the USB token"))
    name = _named(reader)
    return PivCredential.of_card(name, slot, _prompt(name, secrets))


def _called(reader: str) -> str:
    return "the USB token" if reader.startswith(SCHEME) else f"the card in {_named(reader)}"


def _named(reader: str) -> str:
    return reader or _only_reader()


def _only_reader() -> str:
    readers = list_readers()
    holding = [reader.name for reader in readers if reader.has_card]
    if not readers:
        raise ReaderNotFoundError("there is no card reader", next_step="plug one in")
    if not holding:
        names = ", ".join(reader.name for reader in readers)
        raise CardAbsentError(f"no card is in {names}", next_step="put your card in, and repeat")
    if len(holding) > 1:
        raise UsageError(
            f"{len(holding)} readers hold a card",
            next_step=f"name yours: {' or '.join(f'--reader {name!r}' for name in holding)}",
        )
    return holding[0]


def _prompt(reader: str, secrets: Secrets) -> PinPrompt:
    """Nothing here tries again: whoever mistyped repeats the whole command."""

    def ask(tries: int) -> bytes:
        say(f"{tries} PIN {'try' if tries == 1 else 'tries'} left on the card in {reader}")
        if tries == 1:
            say("another wrong PIN blocks the card")
            spelled(LAST, "find the PIN, or have the card unblocked with its PUK")
        return secrets.next(f"PIN of the card in {reader}")

    return ask
