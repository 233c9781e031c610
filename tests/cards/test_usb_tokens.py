"""The same job on a PKCS#11 token, SoftHSM, and what its holder does with it."""

from base64 import b64encode
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from hsm import usb
from hsm.errors import (
    CardDataError,
    CardForeignError,
    CardObjectMissingError,
    CardRefusedError,
    CardRemovedError,
    DataInvalidError,
    IntegrityError,
    MechanismUnsupportedError,
    PinIncorrectError,
    TokenSpoiledError,
)
from hsm.tokens import SecretChange, TokenSlot
from hsm.uri import Pkcs11Uri
from hsm.usb_holder import HeldToken, UsbCredential, UsbKeys
from keyvault import sealed
from keyvault.domain.issuing import Standing
from keyvault.operations.personalising import keys_of, personalise
from keyvault.signatures import verify
from tests import devices
from tests.cards.personalising import PIN, PUK, Here, new_job
from tests.cards.usb import Stick, pulled_at

PLAN = {"9C": "EC-P256", "9D": "EC-P256"}
CHOSEN = b"a PIN of my own"


@pytest.fixture(scope="module")
def stick(tmp_path_factory):
    """One SoftHSM for all: each test issues tokens of its own there."""
    with Stick.make(tmp_path_factory.mktemp("stick")) as made:
        yield made


def _house(**plan):
    return Here(replace(new_job(), kind="pkcs11").noting(plan=plan or PLAN))


def _driver(ask, house):
    reader = usb.UsbReader(devices.SOFTHSM, ask)
    return usb.Pkcs11Token(
        reader.call, house.job.token, usb.load(), lambda: house.secrets(house.job)
    )


def _insert(house, ask):
    house.job = house.job.to(Standing.OPEN) if house.job.standing != "open" else house.job
    return personalise(_driver(ask, house), house.job, house)


def _issued(stick):
    house = _house()
    _insert(house, stick.ask)
    keys = UsbKeys.of_uri(_uri(house.job.token), stick.ask)
    return house, keys


def _uri(token):
    return str(Pkcs11Uri(token=token.hex, module_path=devices.SOFTHSM))


def _converged(stick, house):
    """One certificate for each key, of the key that is on the token, and PINs that are ours."""
    assert (house.job.standing, house.signed) == (Standing.DONE, len(PLAN))
    keys = UsbKeys.of_uri(_uri(house.job.token), stick.ask)
    for slot, spki in keys_of(house.job).items():
        assert keys.key(TokenSlot(slot)) == spki
        public = x509.load_der_x509_certificate(house.asked[slot]).public_key()
        assert public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki
    message = b"whatever"
    signer = keys.credential(TokenSlot.SIGNATURE, lambda: PIN)
    assert verify(signer.spki, signer.sign(message), message)
    assert _officer(stick, house, PUK)


def _officer(stick, house, so_pin):
    about = {"do": "token-check", "label": house.job.token.hex, "path": devices.SOFTHSM}
    return stick.ask({**about, "so_pin": b64encode(so_pin).decode()})["right"]


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.soak), 4])
def test_wherever_a_usb_token_is_pulled_its_second_insertion_ends_the_job(stick, step):
    house, before = _house(), len(stick.log)
    _insert(house, stick.ask)
    calls = len(stick.log) - before
    _converged(stick, house)
    for at in range(1, calls + 1, step):
        for executed in (False, True):
            house = _house()
            with pytest.raises(CardRemovedError):
                _insert(house, pulled_at(stick.ask, at, executed=executed))
            assert house.job.standing is Standing.INTERRUPTED
            _insert(house, stick.ask)
            _converged(stick, house)


@pytest.fixture
def unable(stick):
    """The same SoftHSM without ECDH."""
    whole, able = stick.settings.read_text(), "CKM_EC_KEY_PAIR_GEN,CKM_ECDSA"
    stick.settings.write_text(whole.replace("= ALL", f"= {able}"))
    yield stick
    stick.settings.write_text(whole)


def test_a_module_that_agrees_on_no_keys_is_told_of_before_anything_is_certified(unable):
    house = _house()
    with pytest.raises(MechanismUnsupportedError, match="to agree"):
        _insert(house, unable.ask)
    assert (house.job.standing, house.signed) == (Standing.INTERRUPTED, 0)
    without = _house(**{"9C": "EC-P256"})
    assert _insert(without, unable.ask).standing is Standing.DONE


def test_a_token_that_says_it_has_another_key_to_agree_with_is_found_out(stick):
    house = _house()
    other = ec.generate_private_key(ec.SECP256R1())

    def lying(request):
        answer = stick.ask(request)
        if request["do"] == "token-agree":
            peer = load_der_public_key(usb.b64decode(request["peer"]))
            return {"z": usb.b64(other.exchange(ec.ECDH(), peer))}
        return answer

    with pytest.raises(Exception, match="did not prove"):
        _insert(house, lying)
    assert "9D" not in house.asked
    house, _ = _issued(stick)
    secrets, keys = house.secrets(house.job), {TokenSlot.KEY_MANAGEMENT: keys_of(house.job)["9D"]}
    driver = _driver(lying, house)
    driver.identify()
    with pytest.raises(TokenSpoiledError, match="9D"):
        driver.prove(secrets, keys, b"nonce")


def test_what_is_sealed_to_a_usb_token_opens_with_it_and_with_the_right_pin_alone(stick):
    house, keys = _issued(stick)
    opener = keys.credential(TokenSlot.KEY_MANAGEMENT, lambda: PIN)
    box = sealed.seal(opener.spki, b"a share", b"for a test")
    assert sealed.opened_by(opener.agree, opener.spki, box, b"for a test") == b"a share"
    guessing = keys.credential(TokenSlot.KEY_MANAGEMENT, lambda: b"wrong PIN")
    with pytest.raises(PinIncorrectError):
        sealed.opened_by(guessing.agree, opener.spki, box, b"for a test")
    with pytest.raises(CardObjectMissingError):
        keys.key(TokenSlot.AUTHENTICATION)
    keys.key = lambda _: keys_of(house.job)["9D"]
    with pytest.raises(IntegrityError, match="not of this message"):
        UsbCredential(keys, TokenSlot.SIGNATURE, lambda: PIN).sign(b"by another key")


def test_a_holder_s_own_pin_replaces_the_one_that_it_was_sent_with(stick):
    house, keys = _issued(stick)
    typed = [PIN, CHOSEN]
    held = HeldToken(devices.SOFTHSM, keys.label, lambda _: typed.pop(0), stick.ask)
    with pytest.raises(CardRefusedError, match="has now"):
        held.own_pin(PIN)
    held.own_pin(PIN)
    driver = _driver(stick.ask, house)
    driver.prove_pin_dead({"the PIN": PIN, "none": b""}, lambda: held.own_pin(b""))
    with pytest.raises(CardRefusedError, match="still takes the PIN"):
        driver.prove_pin_dead({"the PIN": CHOSEN}, lambda: held.own_pin(b""))
    wrong = HeldToken(devices.SOFTHSM, keys.label, lambda _: b"not it", stick.ask)
    with pytest.raises(PinIncorrectError):
        wrong.own_pin(b"")
    with pytest.raises(CardDataError, match="token-sign"):
        held.call({"do": "token-sign", "label": keys.label})


def test_a_so_pin_gives_way_to_the_next_however_often_that_is_cut_off(stick):
    house, _ = _issued(stick)
    driver, following = _driver(stick.ask, house), b"99887766"
    for begun in range(3):  # it was cut off when it was done
        driver.unblock(SecretChange(PUK, following, begun), b"111111")
        assert driver.takes(b"111111")
    assert _officer(stick, house, following)
    assert not _officer(stick, house, PUK)
    with pytest.raises(TokenSpoiledError, match="SO-PIN"):
        driver.unblock_by(PUK, b"222222")
    assert driver.takes(b"111111")


def test_a_token_of_another_model_is_refused_with_what_was_found(stick):
    house = Here(replace(new_job(), kind="pkcs11"))
    reader = usb.UsbReader(devices.SOFTHSM, stick.ask)
    token = usb.Pkcs11Token(reader.call, house.job.token, [], lambda: None)
    with pytest.raises(CardForeignError, match="SoftHSM"):
        token.identify()


@pytest.mark.parametrize(
    "call",
    [
        {"do": "initialise"},
        {"do": "token-set-pin"},
        {"do": "token-load", "path": "/tmp/x.so"},
    ],
)
def test_a_desk_makes_no_other_call_and_loads_no_other_module(call):
    with pytest.raises(DataInvalidError, match="does not do"):
        usb.carry("/nowhere", call)
