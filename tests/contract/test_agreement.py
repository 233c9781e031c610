"""Agreeing on keys for messages, on every device: in the module where it can, or beside it."""

import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsm.errors import DataInvalidError, KeyUnusableError, MechanismUnsupportedError
from hsm.types import Agreement, Algorithm, KeyUsage
from keyvault.signatures import spki_der
from tests.contract.conftest import name_of, spec_of

A, U = Algorithm, KeyUsage
AGREEING = pytest.mark.parametrize("name", ["softhsm", "nss"])
PEER = ec.generate_private_key(ec.SECP256R1())


def agreement(peer: ec.EllipticCurvePrivateKey = PEER, **changes: object) -> Agreement:
    given = {"other_info": os.urandom(33), "iv": os.urandom(12), **changes}
    return Agreement(spki_der(peer.public_key()), **given)


def by_the_peer(made, terms: Agreement) -> AESGCM:
    """The same key as the other side of the agreement has it, by another implementation."""
    z = PEER.exchange(ec.ECDH(), load_der_public_key(made.public_key))
    return AESGCM(ConcatKDFHash(hashes.SHA256(), 16, terms.other_info).derive(z))


@AGREEING
def test_both_sides_of_an_agreement_have_the_same_key(device, name):
    made = device.generate(spec_of(A.EC_P256, U.AGREE))

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.binary(max_size=200),
        st.binary(max_size=200),
        st.integers(12, 16),
        st.binary(min_size=1, max_size=512),
    )
    def holds(text: bytes, aad: bytes, tag: int, info: bytes) -> None:
        terms = agreement(other_info=info, tag_size=tag)
        sealed = device.seal_agreed(made.spec.key_id, terms, text, aad)
        whole = by_the_peer(made, terms).encrypt(terms.iv, text, aad)
        assert sealed.data == whole[: len(text) + tag]
        assert sealed.in_module == (name == "nss")
        assert device.open_agreed(made.spec.key_id, terms, sealed.data, aad).data == text

    holds()


@AGREEING
def test_a_wrapped_key_agrees_like_a_resident_one(home, device):
    made = home.make(A.EC_P256, U.AGREE)
    terms = agreement()
    sealed = device.seal_agreed(name_of(made), terms, b"text", b"aad").data
    assert sealed == by_the_peer(made, terms).encrypt(terms.iv, b"text", b"aad")[:-4]
    assert device.open_agreed(name_of(made), terms, sealed, b"aad").data == b"text"


@AGREEING
def test_what_was_altered_is_not_opened(device):
    key = device.generate(spec_of(A.EC_P256, U.AGREE)).spec.key_id
    terms = agreement()
    sealed = device.seal_agreed(key, terms, b"text", b"aad").data
    for at in range(len(sealed)):
        flipped = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(DataInvalidError):
            device.open_agreed(key, terms, flipped, b"aad")
    for wrong in (sealed[:11], b""):
        with pytest.raises(DataInvalidError):
            device.open_agreed(key, terms, wrong, b"aad")


@AGREEING
def test_a_key_that_signs_agrees_on_nothing_and_the_reverse(device):
    signing = device.generate(spec_of(A.EC_P256, U.SIGN)).spec.key_id
    agreeing = device.generate(spec_of(A.EC_P256, U.AGREE)).spec.key_id
    with pytest.raises(KeyUnusableError):
        device.seal_agreed(signing, agreement(), b"", b"")
    with pytest.raises(KeyUnusableError):
        device.sign(agreeing, "ECDSA", bytes(32))


@AGREEING
@pytest.mark.parametrize(
    "change",
    [{"iv": bytes(11)}, {"tag_size": 4}, {"other_info": b""}, {"other_info": bytes(513)}],
    ids=str,
)
def test_terms_outside_the_contract_are_refused(device, change):
    key = device.generate(spec_of(A.EC_P256, U.AGREE)).spec.key_id
    with pytest.raises(DataInvalidError):
        device.seal_agreed(key, agreement(**change), b"", b"")


@AGREEING
def test_a_peer_on_another_curve_or_off_the_curve_is_refused(device):
    key = device.generate(spec_of(A.EC_P256, U.AGREE)).spec.key_id
    good = spki_der(PEER.public_key())
    off = good[:-1] + bytes([good[-1] ^ 1])
    other = spki_der(ec.generate_private_key(ec.SECP384R1()).public_key())
    for peer in (off, other, good[:-1], b"", good + b"\0"):
        terms = Agreement(peer, bytes(33), bytes(12))
        with pytest.raises(DataInvalidError):
            device.seal_agreed(key, terms, b"", b"")


@AGREEING
def test_a_p384_key_agrees_on_no_key_for_a_message(device):
    key = device.generate(spec_of(A.EC_P384, U.AGREE)).spec.key_id
    with pytest.raises(DataInvalidError):
        device.seal_agreed(key, agreement(), b"", b"")


@pytest.mark.parametrize("name", ["p11kit"])
def test_a_module_without_ecdh_says_so(device):
    with pytest.raises(MechanismUnsupportedError):
        device.seal_agreed(bytes(16), agreement(), b"", b"")


@AGREEING
def test_nothing_is_left_in_the_session(device):
    key = device.generate(spec_of(A.EC_P256, U.AGREE)).spec.key_id
    device.seal_agreed(key, agreement(), b"", b"")
    before = session_objects(device)
    for _ in range(3):
        device.seal_agreed(key, agreement(), b"", b"")
        with pytest.raises(DataInvalidError):
            device.open_agreed(key, agreement(), bytes(12), b"")
    assert session_objects(device) == before


def session_objects(device) -> int:
    return sum(1 for _ in device._session.get_objects())  # noqa: SLF001 - to count them
