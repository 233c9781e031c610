"""Cards that lie, break, or wear out whoever talks to them.

A fault is a function from the honest card and an APDU to an answer; None is silence.
"""

import gzip
import os
import time
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.cards.simulator.ber import fields, tlv
from tests.cards.simulator.card import GET_RESPONSE, OK, Card
from tests.cards.simulator.holder import CERTIFICATES, container, personalised
from tests.cards.simulator.piv import Applet
from tests.cards.simulator.vpcd import Pulled

VERIFY, GENERAL_AUTHENTICATE, SELECT, GET_DATA = 0x20, 0x87, 0xA4, 0xCB

Answer = bytes | None
Fault = Callable[[Card, bytes], Answer]


class HostileCard:
    """An honest card with a fault between it and the reader."""

    def __init__(self, card: Card, fault: Fault) -> None:
        self.card = card
        self.atr = card.atr
        self._fault = fault

    def reset(self) -> None:
        self.card.reset()

    def process(self, apdu: bytes) -> Answer:
        return self._fault(self.card, apdu)


def at(ins: int, fault: Fault) -> Fault:
    """Only at this command; honest otherwise."""
    return lambda card, apdu: fault(card, apdu) if apdu[1] == ins else card.process(apdu)


def after(count: int, fault: Fault) -> Fault:
    """Honest for that many APDUs."""
    return lambda card, apdu: fault(card, apdu) if len(card.log) >= count else card.process(apdu)


def says(answer: bytes) -> Fault:
    return lambda _card, _apdu: answer


def signed(make: Callable[[Card, bytes], bytes]) -> Fault:
    """Another signature than the honest one, in a template that looks right."""

    def fault(card: Card, apdu: bytes) -> bytes:
        honest = card.process(apdu)
        if honest[-2:] != OK:
            return honest
        signature = fields(fields(honest[:-2])[0x7C])[0x82]
        return tlv(0x7C, tlv(0x82, make(card, signature))) + OK

    return at(GENERAL_AUTHENTICATE, fault)


def of_another_message(card: Card, _: bytes) -> bytes:
    slot = card.log[-1][3]  # P2 of GENERAL AUTHENTICATE
    key = card.application.keys[slot]
    return key.sign(b"pay the attacker", ec.ECDSA(hashes.SHA256()))


def of_another_key(_card: Card, _: bytes) -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).sign(b"message", ec.ECDSA(hashes.SHA256()))


def replaying() -> Fault:
    """The first signature for ever."""
    kept: list[bytes] = []

    def make(_: Card, signature: bytes) -> bytes:
        kept.append(signature)
        return kept[0]

    return signed(make)


def noise(size: int) -> Fault:
    return lambda _card, _apdu: os.urandom(size) + OK


def pulled(_card: Card, _apdu: bytes) -> Answer:
    raise Pulled


def pulled_after_execution(card: Card, apdu: bytes) -> Answer:
    card.process(apdu)
    raise Pulled


def mute(_card: Card, _apdu: bytes) -> Answer:
    return None


def dripping(seconds: float) -> Fault:
    """A byte at a time, each late, and always one more."""

    def fault(card: Card, apdu: bytes) -> Answer:
        if apdu[1] in (GET_DATA, GET_RESPONSE):
            time.sleep(seconds)
            return b"\x53\x61\x10"
        return card.process(apdu)

    return fault


def flooding(card: Card, apdu: bytes) -> Answer:
    """256 bytes and as many to come, without end."""
    if apdu[1] in (GET_DATA, GET_RESPONSE):
        return bytes(256) + b"\x61\x00"
    return card.process(apdu)


def promising(card: Card, apdu: bytes) -> Answer:
    """No byte, and more to come, without end."""
    return b"\x61\x10" if apdu[1] in (GET_DATA, GET_RESPONSE) else card.process(apdu)


def uncounted(card: Card, apdu: bytes) -> Answer:
    """Wrong PINs cost nothing, says the card."""
    card.application.pin.left = 3
    answer = card.process(apdu)
    return b"\x63\xc3" if answer[:1] == b"\x63" else answer


def always_verified(card: Card, apdu: bytes) -> Answer:
    return OK if apdu[1] == VERIFY else card.process(apdu)


def holding(content: Callable[[bytes], bytes], slot: int) -> Card:
    """A card whose certificate object is changed."""
    applet = personalised()
    applet.objects[CERTIFICATES[slot]] = content(applet.objects[CERTIFICATES[slot]])
    return Card(applet)


def of_somebody_else(_: bytes) -> bytes:
    return personalised().objects[CERTIFICATES[0x9C]]


def cut_off(content: bytes) -> bytes:
    return content[:-40]


def indefinite(content: bytes) -> bytes:
    return b"\x70\x80" + content[4:] + b"\0\0"


def twice(content: bytes) -> bytes:
    return content + content


def bomb(_: bytes) -> bytes:
    return container(gzip.compress(bytes(2_000_000)), b"\1")


def of_another_kind(_: bytes) -> bytes:
    return container(os.urandom(600))


def swapped(applet: Applet) -> Applet:
    """Keeps its certificates and has other keys behind them: a clone by copying."""
    applet.keys = personalised().keys
    return applet
