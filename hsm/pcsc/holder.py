"""A card in a reader before which its holder sits, while a service works on it from elsewhere."""

from collections.abc import Callable

from hsm.errors import CardDataError, CardRefusedError
from hsm.pcsc.apdu import GET_RESPONSE, Channel, TransmissionProtocol, Transport
from hsm.pcsc.piv import Ins, PivCard, PivSlot
from hsm.pcsc.piv_issue import change_pin
from hsm.pcsc.scp03 import EXTERNAL_AUTHENTICATE, INITIALIZE_UPDATE

PASSED = frozenset(
    {
        *(Ins.SELECT, Ins.GET_DATA, GET_RESPONSE, Ins.GENERAL_AUTHENTICATE),
        *(Ins.VERIFY, Ins.CHANGE_REFERENCE_DATA, Ins.RESET_RETRY_COUNTER),
        *(INITIALIZE_UPDATE, EXTERNAL_AUTHENTICATE),
    }
)


class HeldCard:
    """The card, and `choose`, which asks its holder for a PIN of 6 to 8 digits: (is it new?).

    What is typed goes to the card and nowhere else, and is kept while this object lives, since
    the service has the holder prove more than once that the PIN is the one on the card.
    """

    def __init__(self, card: Transport, atr: bytes, choose: Callable[[bool], bytes]) -> None:
        self._card = card
        self._choose = choose
        self._pin = b""
        self.atr = atr

    @property
    def protocol(self) -> TransmissionProtocol:
        return self._card.protocol

    def transmit(self, apdu: bytes, seconds: float) -> bytes:
        """Pass on what recognises a card and sets PIN and PUK. Raises `CardDataError` at the rest.

        The holder's PIN is on the card meanwhile, so a service that is not itself any more could
        have it sign.
        """
        signs = apdu[1] == Ins.GENERAL_AUTHENTICATE and apdu[3] != PivSlot.MANAGEMENT
        if apdu[1] not in PASSED or signs:
            raise CardDataError(
                f"the server asked for {apdu[:4].hex()} while a holder's PIN is on the card",
                next_step="Take the card out, and tell whoever runs the service.",
            )
        return self._card.transmit(apdu, seconds)

    def reset(self) -> None:
        self._card.reset()

    def own_pin(self, given: bytes) -> None:
        """Replace `given` by the holder's own PIN; if it is empty, give the card theirs.

        Raises `CardRefusedError` where they chose the one that they were given.
        """
        piv = PivCard(Channel(self._card))
        if not given:
            self._pin = self._pin or self._choose(False)
            piv.verify_pin(self._pin)
            return
        chosen = self._choose(True)
        if chosen == given:
            raise CardRefusedError(
                "this is the PIN that the card came with", next_step="Choose another one."
            )
        change_pin(piv, given, chosen)
        self._pin = chosen
