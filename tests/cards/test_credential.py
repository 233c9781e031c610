"""A card as a person's credential: the PIN each time, and the same seam as a software key."""

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from hsm import errors
from hsm.pcsc.credential import SIGNING, CardKeys, PivCredential
from hsm.pcsc.piv import PivSlot
from hsm.pcsc.reader import PcscCard
from keyvault import signatures
from tests.cards.bench import NAMES, Bench
from tests.cards.conftest import inserted
from tests.cards.simulator.card import Card
from tests.cards.simulator.holder import CERTIFICATES, certificate, container, personalised
from tests.cards.simulator.hostile import GENERAL_AUTHENTICATE, VERIFY
from tests.cards.simulator.piv import PIN
from tests.cards.simulator.vpcd import VirtualCard

READER = NAMES[0]
WRONG = b"000000"


def spki_of(card: Card, slot: int) -> bytes:
    return signatures.spki_der(card.application.keys[slot].public_key())


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


@pytest.mark.parametrize("slot", [PivSlot.AUTHENTICATION, PivSlot.SIGNATURE])
def test_a_key_that_is_not_of_p256_is_refused_at_enrolment(
    virtual: VirtualCard, slot: PivSlot
) -> None:
    virtual.card = Card(personalised(rsa_slots=(slot,)))
    with pytest.raises(errors.CardForeignError, match=f"slot {slot:X} holds a key of RSA-2048"):
        PivCredential.of_card(READER, slot, lambda _: PIN)
    keys = CardKeys.of_card(READER)
    with pytest.raises(errors.CardForeignError, match="people sign with keys of P-256"):
        keys.key(slot)
    [other] = {*SIGNING} - {slot}
    assert keys.key(other) == spki_of(virtual.card, other)


def test_a_key_of_p384_signs_files_with_sha_384_and_no_person_enrols_it(
    virtual: VirtualCard,
) -> None:
    applet, key = virtual.card.application, ec.generate_private_key(ec.SECP384R1())
    applet.keys[0x9C] = key
    applet.objects[0x5FC10A] = container(certificate(key, "P-384"))
    signed = PivCredential.of_card(READER, PivSlot.SIGNATURE, lambda _: PIN).sign(b"a file")
    key.public_key().verify(signed, b"a file", ec.ECDSA(hashes.SHA384()))
    with pytest.raises(errors.CardForeignError, match="people sign with keys of P-256"):
        CardKeys.of_card(READER).key(PivSlot.SIGNATURE)


def test_both_keys_are_read_without_a_pin(virtual: VirtualCard) -> None:
    keys = CardKeys.of_card(READER)
    assert [keys.key(slot) for slot in SIGNING] == [spki_of(virtual.card, s) for s in SIGNING]
    assert keys.key(PivSlot.AUTHENTICATION) != keys.key(PivSlot.SIGNATURE)
    assert not [apdu for apdu in virtual.card.log if apdu[1] == VERIFY]


def test_an_empty_slot_is_told_from_one_that_holds_rubbish(virtual: VirtualCard) -> None:
    """Spoiling what a card says of 9A does not lead to a login by 9C."""
    objects = virtual.card.application.objects
    del objects[CERTIFICATES[0x9A]]
    keys = CardKeys.of_card(READER)
    assert keys.key(PivSlot.SIGNATURE) == spki_of(virtual.card, 0x9C)
    with pytest.raises(errors.CardObjectMissingError):
        keys.key(PivSlot.AUTHENTICATION)
    objects[CERTIFICATES[0x9A]] = container(b"no certificate")
    with pytest.raises(errors.CardDataError):
        CardKeys.of_card(READER)


@pytest.mark.parametrize("slot", [PivSlot.AUTHENTICATION, PivSlot.SIGNATURE])
def test_each_slot_signs_with_its_own_key_reference(virtual: VirtualCard, slot: PivSlot) -> None:
    credential = PivCredential.of_card(READER, slot, lambda _: PIN)
    assert signatures.verify(credential.spki, credential.sign(b"message"), b"message")
    used = [apdu[3] for apdu in virtual.card.log if apdu[1] == GENERAL_AUTHENTICATE]
    assert used == [slot]
    assert credential.slot is slot


def test_what_is_no_key_is_refused(virtual: VirtualCard) -> None:
    assert virtual.card.atr
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
