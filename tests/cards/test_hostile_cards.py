"""Every hostile card is refused by its own error and in time, and does no harm to the next."""

import time
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm import errors
from hsm.pcsc.credential import PivCredential
from hsm.pcsc.piv import PivSlot
from tests.cards.bench import NAMES, Bench
from tests.cards.conftest import inserted
from tests.cards.simulator import hostile
from tests.cards.simulator.card import Card
from tests.cards.simulator.holder import personalised
from tests.cards.simulator.hostile import (
    GENERAL_AUTHENTICATE,
    SELECT,
    VERIFY,
    Fault,
    HostileCard,
    at,
    says,
    signed,
)
from tests.cards.simulator.piv import PIN
from tests.cards.simulator.vpcd import VirtualCard

READER, OTHER_READER = NAMES
SECONDS = 1.0  # the deadline of each command here
PATIENCE = 4.0  # of a whole session
WRONG_PIN = b"000000"

FAULTS: dict[str, tuple[Fault, type[errors.HsmError]]] = {
    "signature of another message": (signed(hostile.of_another_message), errors.IntegrityError),
    "signature of another key": (signed(hostile.of_another_key), errors.IntegrityError),
    "signature of noise": (signed(lambda *_: bytes(71)), errors.IntegrityError),
    "empty signature": (signed(lambda *_: b""), errors.IntegrityError),
    "noise to everything": (hostile.noise(64), errors.CardDataError),
    "more than was asked for": (hostile.noise(4096), errors.CardDataError),
    "huge length": (at(SELECT, says(b"\x61\x84\xff\xff\xff\xff\x90\x00")), errors.CardDataError),
    "claimed length": (at(SELECT, says(b"\x61\x7f\x4f\x01\0\x90\x00")), errors.CardDataError),
    "no signature": (
        at(GENERAL_AUTHENTICATE, says(b"\x7c\x02\x81\x00\x90\x00")),
        errors.CardDataError,
    ),
    "two signatures": (
        at(GENERAL_AUTHENTICATE, says(b"\x7c\x04\x82\x00\x82\x00\x90\x00")),
        errors.CardDataError,
    ),
    "nothing but success": (at(SELECT, says(b"\x90\x00")), errors.CardDataError),
    "no such status word": (at(SELECT, says(b"\x00\x00")), errors.CardRefusedError),
    "warning for success": (
        at(GENERAL_AUTHENTICATE, says(b"\x62\x82")),
        errors.CardRefusedError,
    ),
    "general failure": (at(GENERAL_AUTHENTICATE, says(b"\x6f\x00")), errors.CardRefusedError),
    "PIN still wanted": (at(GENERAL_AUTHENTICATE, says(b"\x69\x82")), errors.CardRefusedError),
    "flood": (hostile.flooding, errors.CardDataError),
    "promise without end": (hostile.promising, errors.CardDataError),
    "correction without end": (at(SELECT, says(b"\x6c\x10")), errors.CardDataError),
    "drip": (hostile.dripping(0.03), errors.CardMuteError),
    "verified by nobody": (hostile.always_verified, errors.CardDataError),
    "blocked at once": (at(VERIFY, says(b"\x69\x83")), errors.PinLockedError),
}
CONTENTS: dict[str, tuple[Callable[[bytes], bytes], type[errors.HsmError]]] = {
    "of somebody else": (hostile.of_somebody_else, errors.CardForeignError),
    "cut off": (hostile.cut_off, errors.CardDataError),
    "of indefinite length": (hostile.indefinite, errors.CardDataError),
    "twice": (hostile.twice, errors.CardDataError),
    "a compressed bomb": (hostile.bomb, errors.CardDataError),
    "noise": (hostile.of_another_kind, errors.CardDataError),
}


Credentials = Callable[..., PivCredential]


@pytest.fixture(params=[PivSlot.AUTHENTICATION, PivSlot.SIGNATURE], ids=["9A", "9C"])
def slot(request: pytest.FixtureRequest) -> PivSlot:
    """What signs logins, and what signs everything else."""
    chosen: PivSlot = request.param
    return chosen


@pytest.fixture
def credential_of(slot: PivSlot) -> Credentials:
    """Pinned to the honest key, as it was enrolled."""

    def pinned(card: Card, reader: str = READER, pin: bytes = PIN) -> PivCredential:
        key = card.application.keys[slot].public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return PivCredential(reader, slot, spki, lambda _: pin, seconds=SECONDS)

    return pinned


def sent_pins(card: Card) -> list[bytes]:
    return [apdu for apdu in card.log if apdu[1] == VERIFY and len(apdu) > 5]


@pytest.mark.parametrize("name", FAULTS)
def test_a_hostile_card_is_refused_in_time_and_the_next_card_is_served(
    virtual: VirtualCard, credential_of: Credentials, name: str
) -> None:
    fault, expected = FAULTS[name]
    honest = Card(personalised())
    virtual.card = HostileCard(honest, fault)
    begin = time.monotonic()
    with pytest.raises(errors.HsmError) as caught:
        credential_of(honest).sign(b"message")
    assert type(caught.value) is expected
    assert time.monotonic() - begin < PATIENCE
    virtual.card = honest
    assert credential_of(honest).sign(b"message")


@pytest.mark.parametrize("name", CONTENTS)
def test_a_false_certificate_is_refused_before_the_pin_is_asked_for(
    virtual: VirtualCard, credential_of: Credentials, slot: PivSlot, name: str
) -> None:
    content, expected = CONTENTS[name]
    enrolled, card = Card(personalised()), hostile.holding(content, slot)
    virtual.card = card
    with pytest.raises(expected):
        credential_of(enrolled).sign(b"message")
    assert not sent_pins(card)


def test_a_replayed_signature_is_refused_on_the_next_message(
    virtual: VirtualCard, credential_of: Credentials
) -> None:
    honest = Card(personalised())
    virtual.card = HostileCard(honest, hostile.replaying())
    assert credential_of(honest).sign(b"first")
    with pytest.raises(errors.IntegrityError):
        credential_of(honest).sign(b"second")


def test_a_copied_certificate_without_its_key_signs_nothing(
    virtual: VirtualCard, credential_of: Credentials
) -> None:
    honest = Card(personalised())
    credential = credential_of(honest)
    virtual.card = Card(hostile.swapped(honest.application))
    with pytest.raises(errors.IntegrityError):
        credential.sign(b"message")


def test_a_counter_of_tries_that_does_not_fall_gives_the_card_away(
    virtual: VirtualCard, credential_of: Credentials
) -> None:
    honest = Card(personalised())
    virtual.card = HostileCard(honest, hostile.uncounted)
    with pytest.raises(errors.IntegrityError, match="from 3 to 3"):
        credential_of(honest, pin=WRONG_PIN).sign(b"message")


@pytest.mark.parametrize("ins", [SELECT, VERIFY, GENERAL_AUTHENTICATE])
@pytest.mark.parametrize("how", [hostile.pulled, hostile.pulled_after_execution])
def test_a_card_pulled_in_mid_command_is_called_so(
    bench: Bench, credential_of: Credentials, ins: int, how: Fault
) -> None:
    honest = Card(personalised())
    with inserted(bench, HostileCard(honest, at(ins, how)), 1):
        begin = time.monotonic()
        with pytest.raises(errors.CardRemovedError):
            credential_of(honest, OTHER_READER).sign(b"message")
        assert time.monotonic() - begin < PATIENCE


def test_a_mute_card_costs_its_deadline_and_the_reader_works_once_it_is_out(
    bench: Bench, credential_of: Credentials
) -> None:
    honest = Card(personalised())
    with inserted(bench, HostileCard(honest, at(GENERAL_AUTHENTICATE, hostile.mute)), 1):
        begin = time.monotonic()
        with pytest.raises(errors.CardMuteError):
            credential_of(honest, OTHER_READER).sign(b"message")
        assert time.monotonic() - begin < PATIENCE
    with inserted(bench, honest, 1):
        assert credential_of(honest, OTHER_READER).sign(b"message")
