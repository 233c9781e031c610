"""Cards with a secure channel: issued through it, pulled, lied to, and refused without it."""

from contextlib import suppress

import pytest

from hsm.errors import (
    CardDataError,
    CardForeignError,
    CardRefusedError,
    CardRemovedError,
    TokenSpoiledError,
)
from hsm.pcsc import piv_issue, profiles
from hsm.pcsc.apdu import Channel, Command
from hsm.pcsc.holder import HeldCard
from hsm.pcsc.piv import PivCard, PivSlot
from hsm.pcsc.relay import allowed
from hsm.pcsc.scp03 import PUT_KEY, SecureChannel
from hsm.pcsc.secured import token_of
from keyvault.domain.issuing import Standing
from tests.cards.personalising import (
    PIN,
    PUK,
    Here,
    Own,
    Puller,
    driver_of,
    insert,
    new_job,
    sweep,
)
from tests.cards.simulator.in_process import InProcess
from tests.cards.simulator.models import FACTORY_3DES, MODELS
from tests.cards.simulator.secure import FACTORY, SECURE, TRIES, Between, KeySet, table_of
from tests.cards.test_personalising import converged

NEXT = Own(bytes(range(200, 232)), 2)  # of the next master
FACTORY_PIN = b"123456"


def issued(model, tmp_path):
    card, house, table = SECURE[model].make(), Here(new_job()), table_of(model, tmp_path)
    insert(card, table, house)
    return card, house, table


def driver(side, house, table, *also):
    """Of a finished card in a reader, which is reset."""
    side.reset()
    piv = PivCard(Channel(InProcess(side)))
    profile = profiles.recognise(profiles.load(table), side.atr, piv.label)
    return driver_of(piv, profile, house.job, *also)


def serviced(side, house, table):
    found = driver(side, house, table)
    found.take_over(begun=True, taken=True)
    return found


def is_own(card, own=None):
    """One key set, ours, with all its tries."""
    (number, held), own = next(iter(card.domain.sets.items())), own or Own()
    keys = own.channel(len(held.enc)).static
    assert (len(card.domain.sets), number) == (1, own.version)
    assert (held.enc, held.mac, held.dek, held.left) == (keys.enc, keys.mac, keys.dek, TRIES)


@pytest.mark.parametrize("model", SECURE)
def test_all_that_is_secret_to_a_card_goes_through_its_channel(tmp_path, model):
    card, house, _ = issued(model, tmp_path)
    converged(card, house)
    is_own(card)
    assert house.job.channel
    kept = "as delivered" if model != "yubico" else "own"
    assert kept in house.job.facts["obeys"]  # by which the register knows whom a new master is for
    seen = b"".join(card.log)
    for secret in (PIN, PUK, FACTORY_PIN, card.application.management_key):
        assert secret not in seen
    clear = {apdu[1] for apdu in card.log if not apdu[0] & 0x84}
    assert 0x24 not in clear  # no PIN or PUK is changed in clear


@pytest.mark.parametrize("model", ["yubico", "strict-3des-t0"])
def test_wherever_a_secured_card_is_pulled_its_second_insertion_ends_the_job(tmp_path, model):
    step = 2 if model == "yubico" else 9
    for _, _, card, house in sweep(SECURE[model].make, table_of(model, tmp_path), step):
        converged(card, house)
        is_own(card)


def test_a_key_set_that_is_neither_the_factory_s_nor_ours_is_for_destruction(tmp_path):
    card, house = SECURE["yubico"].make(), Here(new_job())
    card.domain.sets = {0xFF: KeySet(*[bytes(16)] * 3)}
    with pytest.raises(TokenSpoiledError, match="neither"):
        insert(card, table_of("yubico", tmp_path), house)
    assert house.job.standing is Standing.QUARANTINED


def test_a_card_that_keeps_its_factory_s_key_set_is_for_destruction(tmp_path):
    card, house = SECURE["yubico"].make(), Here(new_job())
    put = card.domain.put

    def keeping(*given):
        answer = put(*given)
        card.domain.sets[0xFF] = KeySet(FACTORY, FACTORY, FACTORY)
        return answer

    card.domain.put = keeping
    with pytest.raises(TokenSpoiledError, match="still has its factory's"):
        insert(card, table_of("yubico", tmp_path), house)


def test_a_card_that_has_no_channel_though_its_model_does_is_left_as_it_was(tmp_path):
    plain, house = MODELS["yubico"].make(), Here(new_job())
    plain.application.label = b"secure"
    with pytest.raises(CardForeignError, match="no secure channel"):
        insert(plain, table_of("yubico", tmp_path), house)
    assert house.job.standing is Standing.OPEN
    assert plain.application.management_key == FACTORY_3DES


def test_a_card_that_was_issued_with_a_channel_is_never_served_in_clear(tmp_path):
    card, house, table = issued("yubico", tmp_path)
    asked = len(card.log)
    for lie in (0x6D00, 0x6E00, 0x6882):  # of its reader: "it has none"
        denying = Between(card, {0x50: lambda _, word=lie: word.to_bytes(2, "big")})
        with pytest.raises(CardForeignError, match="no secure channel"):
            serviced(denying, house, table)
    with pytest.raises(CardForeignError, match="knows of none"):
        driver(card, house, None)  # as a model whose profile has no channel
    assert {apdu[1] for apdu in card.log[asked:]} == {0xA4}


UNBLOCK = 0x2C


def test_an_unblocking_is_neither_read_nor_changed_nor_repeated_by_its_reader(tmp_path):
    card, house, table = issued("yubico", tmp_path)
    applet, kept = card.application, []

    def flipped(apdu):
        kept.append(apdu)
        return card.process(apdu[:-2] + bytes((apdu[-2] ^ 1,)) + apdu[-1:])

    before = applet.pin.value, applet.puk.left
    for lie, why in (
        (flipped, CardRefusedError),
        (lambda _: b"\x90\x00", CardDataError),  # "done", says the reader
        (lambda apdu: card.process(apdu)[:-4] + b"\x90\x00", CardDataError),
        (lambda _: b"\x63\xc2", CardDataError),
    ):
        found = serviced(Between(card, {UNBLOCK: lie}), house, table)
        with pytest.raises(why):
            found.unblock_by(PUK, b"555555" if why is CardDataError else b"666666")
        with pytest.raises((CardDataError, CardRefusedError)):
            found.takes(PIN)  # closed, here or on the card
    assert before[1] == applet.puk.left
    # That its answer was cut off, a card cannot know.
    assert applet.pin.value in (before[0], b"555555")
    found = serviced(card, house, table)
    found.unblock_by(PUK, b"777777")
    assert applet.pin.value == b"777777"
    serviced(card, house, table)
    replay = kept[-1]
    assert card.process(replay) == b"\x69\x82"
    assert applet.pin.value == b"777777"
    assert not any(PUK in apdu for apdu in card.log)


def test_what_a_reader_puts_in_the_place_of_another_command_is_refused(tmp_path):
    card, house, table = issued("yubico", tmp_path)
    held = []

    def holding_back(apdu):  # the second one first
        held.append(apdu)
        return b"\x63\xc3" if len(held) == 1 else card.process(held[0])

    found = serviced(Between(card, {0x20: holding_back}), house, table)
    with pytest.raises((CardDataError, CardRefusedError)):
        found.takes(PIN)
    verified = card.application.verified

    def signing(apdu):  # the same data under another header
        return card.process(bytes((apdu[0], 0x24)) + apdu[2:])

    found = serviced(Between(card, {UNBLOCK: signing}), house, table)
    with pytest.raises(CardRefusedError):
        found.unblock_by(PUK, b"555555")
    assert not verified
    assert (card.application.pin.value, card.application.puk.value) == (PIN, PUK)


def test_a_channel_does_not_carry_past_a_desk_what_it_passes_on_to_nobody(tmp_path):
    card, house, table = issued("yubico", tmp_path)
    held = HeldCard(InProcess(card), card.atr, lambda _: PIN)
    key = card.application.keys[0x9C].public_key()
    piv = PivCard(Channel(held))
    plain = piv.channel
    for forbidden in (
        lambda: piv.sign(PivSlot.SIGNATURE, key, b"an approval"),
        lambda: piv_issue.put_data(piv, 0x5FC10A, b""),
        lambda: piv.ask(Command(PUT_KEY, 1, 0x81, b"keys", cla=0x80), "take keys"),
    ):
        piv.channel = SecureChannel(plain, Own().channel(16).keys())
        assert piv.tries_left() == 3  # through the channel, and the desk of its holder
        with pytest.raises(CardDataError, match="while a holder's PIN is on the card"):
            forbidden()
    for header in ("80200080", "84200080", "005000", "80d80081", "84f28002", "0c200080"):
        with pytest.raises(CardDataError, match="does not pass on"):
            allowed(bytes.fromhex(header))
    serviced(card, house, table).wipe()
    assert card.application.pin.left == card.application.puk.left == 0


@pytest.mark.parametrize("executed", [False, True])
def test_wherever_a_secured_card_is_pulled_in_a_rekeying_it_has_one_key_set_that_we_know(
    tmp_path, executed
):
    made = issued("yubico", tmp_path)
    for at in range(1, 30, 1 if executed else 4):
        card, house, table = issued("yubico", tmp_path) if at > 1 else made
        with suppress(CardRemovedError):
            rekeyed(Puller(card, at, executed=executed), house, table)
        rekeyed(card, house, table)
        is_own(card, NEXT)
        assert card.application.management_key == NEXT.key


def rekeyed(side, house, table):
    """As a session does that finds a card in whichever state."""
    side.reset()
    piv = PivCard(Channel(InProcess(side)))
    profile = profiles.recognise(profiles.load(table), side.atr, piv.label)
    for first, other in ((NEXT, Own()), (Own(), NEXT)):
        found = token_of(piv, profile, first, channel=house.job.channel, also=(other,))
        try:
            found.take_over(begun=True, taken=True)
        except TokenSpoiledError:
            continue
        found.rekey(NEXT)
        return
    pytest.fail("the card obeys neither")


@pytest.mark.parametrize(
    "line", ["size = 20", "factory_version = 300", 'factory = ["00"]', 'colour = "blue"']
)
def test_a_channel_s_profile_with_a_slip_of_the_pen_is_not_read(tmp_path, line):
    name = line.split(" ", 1)[0]
    kept = [one for one in SECURE["yubico"].table.splitlines() if not one.startswith(f"{name} ")]
    path = tmp_path / "cards.toml"
    path.write_text("\n".join([*kept, line]))
    with pytest.raises(profiles.DataInvalidError):
        profiles.load(path)
