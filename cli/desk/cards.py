"""A PIV card in a reader as what signs for a person; its PIN is asked for each signature."""

from cli.confirm import spelled
from cli.errors import UsageError
from cli.output import say
from cli.passphrases import Secrets
from hsm.errors import CardAbsentError, ReaderNotFoundError
from hsm.pcsc.credential import PinPrompt, PivCredential
from hsm.pcsc.piv import PivSlot
from hsm.pcsc.reader import list_readers

SLOT = PivSlot.SIGNATURE  # for logins too: authority pins one key a person (docs/adr/0014)
LAST = "last try"


def card(reader: str, secrets: Secrets, spki: bytes | None) -> PivCredential:
    """The card in this reader, or in the only one that holds a card.

    With `spki` another card is refused before its PIN is asked for; without it the card's own key
    is taken, as for an enrolment.
    """
    name = reader or _only_reader()
    ask = _prompt(name, secrets)
    if spki is None:
        return PivCredential.of_card(name, SLOT, ask)
    return PivCredential(name, SLOT, spki, ask)


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
