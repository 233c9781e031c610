"""The PIV application against an honest card in this process; the bench has the hostile ones."""

import gzip

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from hsm import errors
from hsm.pcsc import containers, piv_issue
from hsm.pcsc.apdu import Channel
from hsm.pcsc.piv import PivAlgorithm, PivCard, PivObject, PivReference, PivSlot, pin_block
from tests.cards.simulator.card import Card
from tests.cards.simulator.holder import CERTIFICATES, CHUID, container, personalised
from tests.cards.simulator.in_process import InProcess
from tests.cards.simulator.piv import DISCOVERY, MANAGEMENT_KEY, PIN, PUK, Applet

WRONG, NEW_PIN, NEW_PUK = b"000000", b"1234567", b"abcdefgh"
OWN_KEY = piv_issue.HeldKey(PivAlgorithm.TRIPLE_DES, MANAGEMENT_KEY)


def piv_on(applet: Applet, **transmission: bool) -> PivCard:
    return PivCard(Channel(InProcess(Card(applet, **transmission))))


@pytest.fixture
def applet() -> Applet:
    return personalised()


@pytest.fixture
def piv(applet: Applet) -> PivCard:
    return piv_on(applet)


def sent(piv: PivCard) -> list[bytes]:
    return piv.channel._transport._card.log  # noqa: SLF001  (what the card heard)


def test_the_chuid_and_the_pin_policy_are_read(piv: PivCard) -> None:
    assert len(piv.chuid().guid) == 16
    assert piv.chuid().expires == "20351231"
    assert piv.pin_usage_policy() == 0x4000


def test_a_card_without_a_discovery_object_has_no_policy(applet: Applet) -> None:
    del applet.objects[DISCOVERY]
    assert piv_on(applet).pin_usage_policy() is None


@pytest.mark.parametrize("content", [b"", b"\x34\x01a", b"\x34\x10" + bytes(16)])
def test_a_chuid_that_lacks_its_parts_is_refused(applet: Applet, content: bytes) -> None:
    applet.objects[CHUID] = content
    with pytest.raises(errors.CardError):
        piv_on(applet).chuid()


def test_a_card_without_the_application_is_refused_by_name() -> None:
    class OtherApplet(Applet):
        def execute(self, ins: int, p1: int, p2: int, data: bytes) -> bytes:
            return super().execute(ins, p1, p2, b"\xa0\0\0\x01\x51" if ins == 0xA4 else data)

    with pytest.raises(errors.CardObjectMissingError, match="select the PIV application"):
        piv_on(OtherApplet())


@pytest.mark.parametrize("slot", list(CERTIFICATES))
def test_the_certificate_of_each_slot_is_read(applet: Applet, slot: int) -> None:
    found = piv_on(applet).certificate(PivSlot(slot))
    assert found.public_key() == applet.keys[slot].public_key()


def test_an_empty_slot_is_called_missing(applet: Applet) -> None:
    del applet.objects[CERTIFICATES[0x9C]]
    with pytest.raises(errors.CardObjectMissingError, match="5FC10A"):
        piv_on(applet).certificate(PivSlot.SIGNATURE)


def test_a_compressed_certificate_is_unpacked_within_its_limit(applet: Applet) -> None:
    where = CERTIFICATES[0x9C]
    plain = piv_on(applet).certificate(PivSlot.SIGNATURE)
    der = applet.objects[where][4:-5]
    assert x509.load_der_x509_certificate(der) == plain
    applet.objects[where] = container(gzip.compress(der), b"\1")
    assert piv_on(applet).certificate(PivSlot.SIGNATURE) == plain
    for damaged in (gzip.compress(der)[:-4], gzip.compress(bytes(20_000)), b"", b"nonsense"):
        applet.objects[where] = container(damaged, b"\1")
        with pytest.raises(errors.CardDataError):
            piv_on(applet).certificate(PivSlot.SIGNATURE)


@pytest.mark.parametrize("info", [b"", b"\2", b"\0\0"])
def test_a_container_of_unknown_kind_is_refused(applet: Applet, info: bytes) -> None:
    der = applet.objects[CERTIFICATES[0x9C]][4:-5]
    applet.objects[CERTIFICATES[0x9C]] = container(der, info)
    with pytest.raises(errors.CardDataError):
        piv_on(applet).certificate(PivSlot.SIGNATURE)


@pytest.mark.parametrize("t0", [False, True], ids=["T=1", "T=0"])
@pytest.mark.parametrize("slot", [PivSlot.AUTHENTICATION, PivSlot.SIGNATURE])
def test_a_signature_verifies_under_the_certificate(
    applet: Applet, slot: PivSlot, t0: bool
) -> None:
    piv = piv_on(applet, t0=t0)
    key = piv.certificate(slot).public_key()
    piv.verify_pin(PIN)
    key.verify(piv.sign(slot, key, b"message"), b"message", ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("extended", [False, True])
def test_an_rsa_signature_verifies_too(extended: bool) -> None:
    applet = personalised(rsa_slots=(0x9A,))
    piv = PivCard(Channel(InProcess(Card(applet)), extended=extended))
    key = piv.certificate(PivSlot.AUTHENTICATION).public_key()
    piv.verify_pin(PIN)
    signature = piv.sign(PivSlot.AUTHENTICATION, key, b"message")
    key.verify(signature, b"message", padding.PKCS1v15(), hashes.SHA256())


def test_two_cards_share_no_key_and_two_signatures_no_r(applet: Applet, piv: PivCard) -> None:
    other = personalised()
    keys = [key.public_key().public_numbers() for a in (applet, other) for key in a.keys.values()]
    assert len(set(keys)) == 8
    key = piv.certificate(PivSlot.AUTHENTICATION).public_key()
    piv.verify_pin(PIN)
    signatures = [piv.sign(PivSlot.AUTHENTICATION, key, b"same") for _ in range(5)]
    assert len({decode_dss_signature(signature)[0] for signature in signatures}) == 5


def test_slot_9c_wants_the_pin_before_every_signature(piv: PivCard) -> None:
    key = piv.certificate(PivSlot.SIGNATURE).public_key()
    piv.verify_pin(PIN)
    assert piv.sign(PivSlot.SIGNATURE, key, b"first")
    with pytest.raises(errors.CardRefusedError, match="6982") as caught:
        piv.sign(PivSlot.SIGNATURE, key, b"second")
    assert caught.value.code == "card-refused"
    assert "PIN" in caught.value.next_step


def test_a_signature_under_another_key_than_the_expected_is_not_released(
    applet: Applet, piv: PivCard
) -> None:
    piv.verify_pin(PIN)
    with pytest.raises(errors.IntegrityError):
        piv.sign(PivSlot.SIGNATURE, applet.keys[0x9A].public_key(), b"message")


def test_a_key_of_another_kind_never_reaches_the_card(piv: PivCard) -> None:
    before = len(sent(piv))
    key = ec.generate_private_key(ec.SECP521R1()).public_key()
    with pytest.raises(errors.MechanismUnsupportedError):
        piv.sign(PivSlot.SIGNATURE, key, b"message")
    assert len(sent(piv)) == before


def test_tries_are_told_without_spending_one(piv: PivCard) -> None:
    assert [piv.tries_left() for _ in range(9)] == [3] * 9
    piv.verify_pin(PIN)
    assert piv.tries_left() is None


def test_wrong_pins_count_down_to_a_block_that_the_right_one_does_not_lift(piv: PivCard) -> None:
    for left in (2, 1):
        with pytest.raises(errors.PinIncorrectError) as caught:
            piv.verify_pin(WRONG)
        assert caught.value.tries_left == left
        assert WRONG.decode() not in str(caught.value)
    for pin in (WRONG, PIN):
        with pytest.raises(errors.PinLockedError) as locked:
            piv.verify_pin(pin)
        assert locked.value.tries_left == 0


def test_a_right_pin_gives_all_tries_back(piv: PivCard, applet: Applet) -> None:
    with pytest.raises(errors.PinIncorrectError):
        piv.verify_pin(WRONG)
    piv.verify_pin(PIN)
    assert applet.pin.left == 3


@pytest.mark.parametrize("pin", [b"", b"12345", b"123456789", b"12345a", b"12345\xff", b"      "])
def test_a_pin_of_another_form_costs_no_try(piv: PivCard, applet: Applet, pin: bytes) -> None:
    before = sent(piv)[:]
    with pytest.raises(errors.PinIncorrectError, match="was not asked"):
        piv.verify_pin(pin)
    assert applet.pin.left == 3
    assert all(len(apdu) <= 5 for apdu in sent(piv)[len(before) :])


def test_a_pin_is_filled_up_to_eight_bytes() -> None:
    assert pin_block(bytearray(b"123456")).hex() == "313233343536ffff"


@pytest.mark.parametrize("algorithm", list(piv_issue.KEY_SIZE))
def test_the_management_key_is_proved_both_ways(applet: Applet, algorithm: PivAlgorithm) -> None:
    key = bytes(range(piv_issue.KEY_SIZE[algorithm]))
    applet.management_algorithm, applet.management_key = algorithm, key
    piv = piv_on(applet)
    with pytest.raises(errors.CardRefusedError):
        piv_issue.authenticate_management(piv, piv_issue.HeldKey(algorithm, key[::-1]))
    assert not applet.administered
    piv_issue.authenticate_management(piv, piv_issue.HeldKey(algorithm, key))
    assert applet.administered
    with pytest.raises(errors.MechanismUnsupportedError):
        piv_issue.HeldKey(algorithm, key + b"x")


def test_a_card_that_takes_any_management_key_is_found_out(applet: Applet) -> None:
    class Gullible(Applet):
        def _encrypt(self, block: bytes) -> bytes:
            return bytes(len(block))

        def _authenticate(self, algorithm: int, given: dict[int, bytes]) -> bytes:
            self.witness = given.get(0x80, b"") or self.witness
            return super()._authenticate(algorithm, given)

    with pytest.raises(errors.IntegrityError):
        piv_issue.authenticate_management(piv_on(Gullible()), OWN_KEY)
    assert applet.management_key == MANAGEMENT_KEY


@pytest.mark.parametrize(
    "algorithm", [PivAlgorithm.ECC_P256, PivAlgorithm.ECC_P384, PivAlgorithm.RSA_2048]
)
@pytest.mark.parametrize("t0", [False, True], ids=["T=1", "T=0"])
def test_a_key_is_made_on_the_card(applet: Applet, algorithm: PivAlgorithm, t0: bool) -> None:
    piv = piv_on(applet, t0=t0)
    with pytest.raises(errors.CardRefusedError, match="6982"):
        piv_issue.generate_key(piv, PivSlot.SIGNATURE, algorithm)
    piv_issue.authenticate_management(piv, OWN_KEY)
    made = piv_issue.generate_key(piv, PivSlot.SIGNATURE, algorithm)
    assert made == applet.keys[0x9C].public_key()


@pytest.mark.parametrize("size", [1, 200, 255, 256, 3000])
def test_an_object_is_written_read_back_and_deleted(piv: PivCard, size: int) -> None:
    where, content = PivObject.SECURITY_OBJECT, b"\x04" * size
    with pytest.raises(errors.CardRefusedError, match="6982"):
        piv_issue.put_data(piv, where, content)
    piv_issue.authenticate_management(piv, OWN_KEY)
    piv_issue.put_data(piv, where, content)
    assert piv.get_data(where) == content
    piv_issue.put_data(piv, where, b"")
    with pytest.raises(errors.CardObjectMissingError):
        piv.get_data(where)


def test_an_object_too_large_for_the_card_is_refused_in_words(piv: PivCard) -> None:
    piv_issue.authenticate_management(piv, OWN_KEY)
    with pytest.raises(errors.CardRefusedError, match="not enough memory"):
        piv_issue.put_data(piv, PivObject.SECURITY_OBJECT, bytes(5000))


def test_a_written_certificate_is_found_in_its_slot(piv: PivCard, applet: Applet) -> None:
    der = applet.objects[CERTIFICATES[0x9A]][4:-5]
    piv_issue.authenticate_management(piv, OWN_KEY)
    where = PivObject.CERTIFICATE_SIGNATURE
    piv_issue.put_data(piv, where, containers.certificate(der))
    assert piv.certificate(PivSlot.SIGNATURE) == x509.load_der_x509_certificate(der)


def test_pin_and_puk_are_changed_by_those_who_know_them(piv: PivCard) -> None:
    with pytest.raises(errors.PinIncorrectError) as caught:
        piv_issue.change_pin(piv, WRONG, NEW_PIN)
    assert caught.value.tries_left == 2
    piv_issue.change_pin(piv, PIN, NEW_PIN)
    piv.verify_pin(NEW_PIN)
    with pytest.raises(errors.PinIncorrectError, match="PUK"):
        piv_issue.change_puk(piv, NEW_PUK, PUK)
    piv_issue.change_puk(piv, PUK, NEW_PUK)
    piv_issue.unblock_pin(piv, NEW_PUK, PIN)
    piv.verify_pin(PIN)


def test_a_blocked_pin_is_unblocked_by_the_puk_which_blocks_itself(
    piv: PivCard, applet: Applet
) -> None:
    applet.pin.left = 0
    with pytest.raises(errors.PinLockedError):
        piv.tries_left()
    piv_issue.unblock_pin(piv, PUK, NEW_PIN)
    piv.verify_pin(NEW_PIN)
    for _ in range(2):
        with pytest.raises(errors.PinIncorrectError):
            piv_issue.unblock_pin(piv, NEW_PUK, PIN)
    with pytest.raises(errors.PinLockedError, match="PUK is blocked") as caught:
        piv_issue.unblock_pin(piv, NEW_PUK, PIN)
    assert caught.value.next_step == "Replace the card."


def test_a_new_pin_of_another_form_is_refused_before_the_card_hears_of_it(
    piv: PivCard, applet: Applet
) -> None:
    with pytest.raises(errors.PinIncorrectError):
        piv_issue.change_pin(piv, PIN, b"1234")
    with pytest.raises(errors.PinIncorrectError):
        piv_issue.unblock_pin(piv, b"short", NEW_PIN)
    assert (applet.pin.left, applet.puk.left) == (3, 3)


def test_references_and_slots_have_the_numbers_of_the_standard() -> None:
    assert (PivSlot.AUTHENTICATION, PivSlot.SIGNATURE) == (0x9A, 0x9C)
    assert (PivReference.PIN, PivReference.PUK) == (0x80, 0x81)
