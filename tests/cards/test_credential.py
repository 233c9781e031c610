"""A card as a person's credential: the PIN each time, and the same seam as a software key."""

import os
import subprocess
from pathlib import Path

import pytest

from hsm import errors
from hsm.pcsc.credential import PivCredential
from hsm.pcsc.piv import PivSlot
from hsm.pcsc.reader import PcscCard
from keyvault import signatures
from tests.cards.bench import NAMES, Bench
from tests.cards.conftest import inserted
from tests.cards.simulator.card import Card
from tests.cards.simulator.holder import personalised
from tests.cards.simulator.piv import PIN
from tests.cards.simulator.vpcd import VirtualCard

READER = NAMES[0]
WRONG = b"000000"


class DeclinedError(Exception):
    """What a prompt raises when its person walks away."""


def test_the_house_takes_a_card_for_a_credential(virtual: VirtualCard) -> None:
    card: Card = virtual.card
    credential: signatures.Credential = PivCredential.of_card(
        READER, PivSlot.SIGNATURE, lambda _: bytearray(PIN)
    )
    assert credential.spki == signatures.spki_der(card.application.keys[0x9C].public_key())
    signature = credential.sign(b"message")
    assert signatures.verify(credential.spki, signature, b"message")
    assert not signatures.verify(credential.spki, signature, b"massage")


@pytest.mark.parametrize("slot", [PivSlot.AUTHENTICATION, PivSlot.SIGNATURE])
def test_every_signature_asks_for_the_pin_with_the_tries_left(
    virtual: VirtualCard, slot: PivSlot
) -> None:
    assert virtual.card.atr
    pins, shown = [PIN, WRONG, WRONG, PIN], []

    def ask(tries: int) -> bytes:
        shown.append(tries)
        return pins[len(shown) - 1]

    credential = PivCredential.of_card(READER, slot, ask)
    assert credential.sign(b"first")
    for _ in range(2):
        with pytest.raises(errors.PinIncorrectError):
            credential.sign(b"second")
    assert credential.sign(b"second")
    assert shown == [3, 3, 2, 1]


def test_a_blocked_card_asks_for_no_pin(virtual: VirtualCard) -> None:
    virtual.card.application.pin.left = 0
    asked: list[int] = []
    credential = PivCredential.of_card(READER, PivSlot.SIGNATURE, asked.append)
    with pytest.raises(errors.PinLockedError):
        credential.sign(b"message")
    assert not asked


def test_a_person_who_walks_away_spends_no_try_and_frees_the_reader(virtual: VirtualCard) -> None:
    def walk_away(_: int) -> bytes:
        raise DeclinedError

    credential = PivCredential.of_card(READER, PivSlot.SIGNATURE, walk_away)
    with pytest.raises(DeclinedError):
        credential.sign(b"message")
    assert virtual.card.application.pin.left == 3
    PcscCard(READER).close()


def test_a_key_that_is_not_of_p256_is_refused_at_enrolment(virtual: VirtualCard) -> None:
    virtual.card = Card(personalised(rsa_slots=(0x9C,)))
    with pytest.raises(errors.CardForeignError, match="P-256"):
        PivCredential.of_card(READER, PivSlot.SIGNATURE, lambda _: PIN)
    with pytest.raises(errors.DataInvalidError):
        PivCredential(READER, PivSlot.SIGNATURE, b"no key", lambda _: PIN)


def test_a_pin_stands_in_no_argument_environment_or_error(
    virtual: VirtualCard, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor on any output; the processes are looked at while the card holds the PIN."""
    seen: list[bytes] = []
    honest = virtual.card.process

    def spying(apdu: bytes) -> bytes:
        for pid in subprocess.run(
            ["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=True
        ).stdout.split():
            seen.extend(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
        return honest(apdu)

    virtual.card.process = spying
    credential = PivCredential.of_card(READER, PivSlot.SIGNATURE, lambda _: b"73910846")
    with pytest.raises(errors.PinIncorrectError) as caught:
        credential.sign(b"message")
    assert any(b"hsm.pcsc.child" in text for text in seen)
    output = capfd.readouterr()
    everything = b"".join(seen) + f"{caught.value!r}{output}".encode()
    assert b"73910846" not in everything
    assert b"73910846".hex().encode() not in everything


def test_a_card_that_left_and_came_back_goes_on_signing(bench: Bench) -> None:
    card = Card(personalised())
    with inserted(bench, card, 1):
        credential = PivCredential.of_card(NAMES[1], PivSlot.SIGNATURE, lambda _: PIN)
        assert credential.sign(b"first")
    with pytest.raises(errors.CardAbsentError):
        credential.sign(b"second")
    with inserted(bench, card, 1):
        assert credential.sign(b"second")
