"""A card without a reader: the product's `Transport` straight onto the simulator."""

from hsm.errors import CardMuteError, CardRemovedError
from hsm.pcsc.apdu import TransmissionProtocol
from tests.cards.simulator.card import ATR_T0
from tests.cards.simulator.vpcd import CardSide, Pulled


class InProcess:
    def __init__(self, card: CardSide) -> None:
        self._card = card
        t0 = card.atr == ATR_T0
        self.protocol = TransmissionProtocol.T0 if t0 else TransmissionProtocol.T1

    def transmit(self, apdu: bytes, seconds: float) -> bytes:
        try:
            answer = self._card.process(apdu)
        except Pulled as pulled:
            raise CardRemovedError("the card was taken out") from pulled
        if answer is None:
            raise CardMuteError(f"silence for {seconds} s")
        return answer

    def reset(self) -> None:
        self._card.reset()
