"""A card that is pulled at the worst moment, cards of every model, and cards that are refused."""

from base64 import b64decode, b64encode
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from hsm.errors import CardDataError, CardForeignError, CardRefusedError, TokenSpoiledError
from hsm.pcsc import piv_issue, profiles
from hsm.pcsc.apdu import Channel
from hsm.pcsc.holder import HeldCard
from hsm.pcsc.piv import PivAlgorithm, PivCard, PivSlot
from hsm.pcsc.token import PivToken
from keyvault import sealed
from keyvault.domain.errors import InvalidInputError, TokenDuplicateError
from keyvault.domain.issuing import PLANS, Standing
from keyvault.operations.personalising import keys_of
from tests.cards import personalising
from tests.cards.personalising import PIN, PUK, Here, Own, checked, insert, new_job, sweep
from tests.cards.simulator.card import Card
from tests.cards.simulator.holder import personalised
from tests.cards.simulator.in_process import InProcess
from tests.cards.simulator.maker import Maker
from tests.cards.simulator.models import MODELS, Constant, Lying, table_of

NEXT = Own(bytes(range(200, 232)))  # of the next master


def converged(card: Card, house: Here) -> None:
    """One certificate for each key, of the key that is on the card, and nothing of the factory."""
    applet = card.application
    assert house.job.standing is Standing.DONE
    assert house.signed == len(house.job.plan) == 2
    for name, spki in keys_of(house.job).items():
        public = applet.keys[int(name, 16)].public_key()
        assert public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki
        certificate = x509.load_der_x509_certificate(house.asked[name])
        assert certificate.public_key() == public
        assert house.asked[name] in applet.objects[{"9A": 0x5FC105, "9C": 0x5FC10A}[name]]
    assert (applet.pin.value, applet.puk.value) == (PIN, PUK)
    assert (applet.pin.left, applet.puk.left) == (applet.pin.limit, applet.puk.limit)
    assert house.job.token.bytes in applet.objects[0x5FC102]
    if house.signer:
        assert house.told.count("identity and objects signed") == 1
        assert checked(card, house.signer.root).guid == house.job.token


@pytest.mark.parametrize("model", MODELS)
def test_a_card_of_every_model_is_issued_by_its_profile_alone(tmp_path, model):
    card, house = MODELS[model].make(), Here(new_job())
    done = insert(card, table_of(model, tmp_path), house)
    converged(card, house)
    if model == "yubico":
        assert done.facts["obeys"] == "own management key"
        assert card.application.management_key == personalising.OWN
    else:
        assert done.facts["obeys"] == "management key as delivered"


@pytest.mark.parametrize("model", ["yubico", "strict-3des-t0"])
def test_wherever_a_card_is_pulled_its_second_insertion_ends_the_job(tmp_path, model):
    runs = 0
    for _, _, card, house in sweep(MODELS[model].make, table_of(model, tmp_path)):
        converged(card, house)
        runs += 1
    assert runs > 100  # two for each APDU of an issue


def test_a_card_pulled_twice_in_a_row_still_comes_to_its_end(tmp_path):
    table = table_of("yubico", tmp_path)
    clean = MODELS["yubico"].make()
    insert(clean, table, Here(new_job()))
    changes = [n for n, apdu in enumerate(clean.log, 1) if apdu[1] in (0x24, 0xFF)]
    for at in changes:
        for executed in (False, True):
            card, house = MODELS["yubico"].make(), Here(new_job())
            for pull in (at, 12):
                with pytest.raises(personalising.CardRemovedError):
                    insert(personalising.Puller(card, pull, executed=executed), table, house)
            insert(card, table, house)
            converged(card, house)


def test_an_unknown_card_is_refused_with_what_was_found():
    card = Card(personalised())
    with pytest.raises(CardForeignError, match=card.atr.hex().upper()):
        insert(card, None, Here(new_job()))


def test_another_card_of_the_same_model_does_not_go_on_with_the_job(tmp_path):
    table = table_of("yubico", tmp_path)
    house = Here(new_job())
    with pytest.raises(personalising.CardRemovedError):
        insert(personalising.Puller(MODELS["yubico"].make(), 30, executed=True), table, house)
    step = house.job.step
    with pytest.raises(CardForeignError, match="another token"):
        insert(MODELS["yubico"].make(), table, house)
    assert house.job.step is step


def test_a_card_that_knows_neither_management_key_is_for_destruction(tmp_path):
    card, house = MODELS["yubico"].make(), Here(new_job())
    card.application.management_key = bytes(24)
    with pytest.raises(TokenSpoiledError, match="neither"):
        insert(card, table_of("yubico", tmp_path), house)
    assert house.job.standing is Standing.QUARANTINED


def test_a_card_whose_pin_is_not_the_factory_s_is_for_destruction_with_tries_to_spare(tmp_path):
    card, house = MODELS["strict-aes-128"].make(), Here(new_job())
    card.application.puk.value = b"99999999"
    with pytest.raises(TokenSpoiledError, match="neither"):
        insert(card, table_of("strict-aes-128", tmp_path), house)
    assert house.job.standing is Standing.QUARANTINED
    assert card.application.puk.left == 9


def test_a_key_that_another_token_has_is_never_certified(tmp_path):
    table = table_of("yubico", tmp_path)
    first, house = MODELS["yubico"].make(), Here(new_job())
    insert(first, table, house)
    second, twin = MODELS["yubico"].make(), Here(new_job(), known=set(keys_of(house.job).values()))
    second.application = Constant(
        pin=second.application.pin,
        puk=second.application.puk,
        management_key=second.application.management_key,
        pool=first.application.keys,
    )
    with pytest.raises(TokenDuplicateError):
        insert(second, table, twin)
    assert twin.signed == 0
    assert twin.job.standing is Standing.QUARANTINED


def test_a_card_without_room_for_a_certificate_waits_and_no_second_one_is_made(tmp_path):
    table = table_of("strict-aes-128", tmp_path)
    card, house = MODELS["strict-aes-128"].make(), Here(new_job())
    card.application.object_limit = 200
    with pytest.raises(CardRefusedError, match="not enough memory"):
        insert(card, table, house)
    assert house.job.standing is Standing.INTERRUPTED
    card.application.object_limit = 1500
    insert(card, table, house)
    converged(card, house)


def test_a_card_that_another_maker_attests_is_for_destruction_before_anything_is_certified(
    tmp_path,
):
    card, house = MODELS["yubico"].make(), Here(new_job())
    card.application.attester = Maker().attester()
    with pytest.raises(TokenSpoiledError, match="no maker"):
        insert(card, table_of("yubico", tmp_path), house)
    assert (house.job.standing, house.signed) == (Standing.QUARANTINED, 0)


def test_a_card_that_is_wiped_has_nothing_of_its_holder_left(tmp_path):
    table = table_of("yubico", tmp_path)
    card, house = MODELS["yubico"].make(), Here(new_job())
    insert(card, table, house)
    card.reset()
    piv = PivCard(Channel(InProcess(card)))
    PivToken(piv, profiles.recognise(profiles.load(table), card.atr, piv.label), Own()).wipe()
    assert card.application.pin.left == card.application.puk.left == 0
    assert not {0x5FC105, 0x5FC10A, 0x5FC102} & set(card.application.objects)
    assert all(
        key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        not in keys_of(house.job).values()
        for key in card.application.keys.values()
    )


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ('factory_management_key = "00"', "factory_management_key"),
        ('management_change = "mine"', "management_change"),
        ('colour = "blue"', "colour"),
        ('atr = ["not hex"]', "atr"),
    ],
)
def test_a_profile_with_a_slip_of_the_pen_is_not_read(tmp_path, line, wrong):
    table = MODELS["strict-aes-128"].table
    name = line.split(" ", 1)[0]
    kept = [each for each in table.splitlines() if not each.startswith(f"{name} ")]
    path = tmp_path / "cards.toml"
    path.write_text("\n".join([*kept, line]))
    with pytest.raises(profiles.DataInvalidError, match=wrong):
        profiles.load(path)


def test_a_supplier_s_key_that_everybody_knows_is_refused_in_a_profile(tmp_path):
    table = MODELS["strict-aes-128"].table.replace(
        "8f4c1b9e7a3d5f60218457aecd9be013", "01020304050607080102030405060708"
    )
    path = tmp_path / "cards.toml"
    path.write_text(table)
    with pytest.raises(profiles.DataInvalidError, match="factory_management_key"):
        profiles.load(path)


@pytest.mark.parametrize("model", ["yubico", "strict-3des-t0"])
def test_a_key_to_agree_with_is_proven_by_agreeing_and_opens_what_was_sealed_to_it(tmp_path, model):
    card, house = MODELS[model].make(), Here(new_job().noting(plan=PLANS["with-agreement"]))
    insert(card, table_of(model, tmp_path), house)
    assert house.signed == 3
    assert house.asked["9D"] in card.application.objects[0x5FC10B]
    assert set(house.job.by_slot("proofs")) == {"9A", "9C"}
    spki = keys_of(house.job)["9D"]
    box = sealed.seal(spki, b"words of a share", b"for a test")
    piv = PivCard(Channel(InProcess(card)))

    def agree(peer):
        piv.verify_pin(PIN)
        key, other = load_der_public_key(spki), load_der_public_key(peer)
        return piv.agree(PivSlot.KEY_MANAGEMENT, key, other)

    assert sealed.opened_by(agree, spki, box, b"for a test") == b"words of a share"
    for wrong, context in ((box[:-1] + bytes((box[-1] ^ 1,)), b"for a test"), (box, b"other")):
        with pytest.raises(InvalidInputError, match="does not open"):
            sealed.opened_by(agree, spki, wrong, context)


def test_a_card_that_says_it_has_another_key_to_agree_with_gets_no_certificate(tmp_path):
    table = table_of("strict-aes-128", tmp_path)
    card, house = MODELS["strict-aes-128"].make(), Here(new_job().noting(plan={"9D": "EC-P256"}))
    card.application.__class__ = Lying
    with pytest.raises(InvalidInputError, match="did not prove"):
        insert(card, table, house)
    assert house.signed == 0
    assert house.job.standing is Standing.INTERRUPTED


@pytest.mark.parametrize(
    ("model", "algorithm", "every"),
    [("yubico", "RSA-2048", 12), ("yubico", "EC-P256", 1), ("strict-3des-t0", "EC-P256", 1)],
)
def test_another_authority_gets_requests_that_the_card_signed_wherever_it_is_pulled(
    tmp_path, model, algorithm, every
):
    table, plan = table_of(model, tmp_path), {"9A": algorithm, "9C": "EC-P256"}

    def ordered():
        return Here(new_job().noting(issuer="other", plan=plan))

    clean, house = MODELS[model].make(), ordered()
    assert insert(clean, table, house).standing is Standing.AWAITING
    waits_as_ours(clean)
    for at in range(1, len(clean.log) + 1, every):
        for executed in (False, True):
            card, house = MODELS[model].make(), ordered()
            with suppress(personalising.CardRemovedError):
                insert(personalising.Puller(card, at, executed=executed), table, house)
            if house.job.standing is not Standing.AWAITING:
                insert(card, table, house)
            waits_as_ours(card)
            answered(house)
            assert insert(card, table, house).standing is Standing.DONE
            converged(card, house)


def waits_as_ours(card: Card) -> None:
    """It may lie in a safe: neither its factory's PIN nor its PUK is on it any more."""
    applet = card.application
    assert (applet.pin.value, applet.puk.value) == (PIN, PUK)
    assert (applet.pin.left, applet.puk.left) == (applet.pin.limit, applet.puk.limit)


def answered(house: Here) -> None:
    """What an authority that reads requests would do."""
    assert house.job.awaited == ["9A", "9C"]
    made = {}
    for slot, text in house.job.by_slot("requests").items():
        asked = x509.load_der_x509_csr(b64decode(text))
        assert asked.is_signature_valid
        usage = asked.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value.content_commitment == (slot == "9C")
        made[slot] = house.certificate_of(asked.public_key(), slot)
    house.job = house.job.noting(certificates={k: b64encode(v).decode() for k, v in made.items()})


@pytest.mark.parametrize("executed", [False, True])
def test_wherever_a_card_is_pulled_while_its_management_key_is_replaced_it_obeys_one_of_both(
    tmp_path, executed
):
    table = table_of("yubico", tmp_path)
    for at in range(1, 12):
        card, house = MODELS["yubico"].make(), Here(new_job())
        insert(card, table, house)
        with suppress(personalising.CardRemovedError):
            rekeyed(personalising.Puller(card, at, executed=executed), card, table)
        assert card.application.management_key in (personalising.OWN, NEXT.key)
        rekeyed(card, card, table)
        assert card.application.management_key == NEXT.key


def rekeyed(side: object, card: Card, table: object) -> None:
    side.reset()
    piv = PivCard(Channel(InProcess(side)))
    profile = profiles.recognise(profiles.load(table), card.atr, piv.label)
    PivToken(piv, profile, Own()).rekey(NEXT)


def test_a_service_cannot_have_a_card_sign_while_its_holder_s_pin_is_on_it(tmp_path):
    card, house = MODELS["yubico"].make(), Here(new_job())
    insert(card, table_of("yubico", tmp_path), house)
    card.reset()
    held = HeldCard(InProcess(card), card.atr, lambda _: PIN)
    held.own_pin(b"")
    asked = len(card.log)
    piv, key = PivCard(Channel(held)), card.application.keys[0x9C].public_key()
    for forbidden in (
        lambda: piv.sign(PivSlot.SIGNATURE, key, b"an approval"),
        lambda: piv.sign(PivSlot.AUTHENTICATION, key, b"a login"),
        lambda: piv.agree(PivSlot.KEY_MANAGEMENT, key, key),
        lambda: piv_issue.generate_key(piv, PivSlot.SIGNATURE, PivAlgorithm.ECC_P256),
        lambda: piv_issue.put_data(piv, 0x5FC10A, b""),
    ):
        with pytest.raises(CardDataError, match="while a holder's PIN is on the card"):
            forbidden()
    assert len(card.log) == asked + 1  # SELECT


def test_a_holder_does_not_keep_the_pin_that_the_card_came_with(tmp_path):
    card, house = MODELS["yubico"].make(), Here(new_job())
    insert(card, table_of("yubico", tmp_path), house)
    held = HeldCard(InProcess(card), card.atr, lambda _: PIN)
    with pytest.raises(CardRefusedError, match="came with"):
        held.own_pin(PIN)
    assert card.application.pin.value == PIN
