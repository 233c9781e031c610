"""People's keys: encrypted at rest, readable by one, and checked with one algorithm only."""

import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.errors import InvalidInputError
from keyvault.signatures import SoftwareCredential, spki_of_certificate, verify
from tests.unit.officers import ALICE, BOB, certificate

PASSPHRASE = b"correct horse battery"
MESSAGE = b"the whole request"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "alice.pem"


def test_a_credential_opens_again_with_its_passphrase(path):
    made = SoftwareCredential.create(path, PASSPHRASE)
    opened = SoftwareCredential.open(path, PASSPHRASE)
    assert opened.spki == made.spki
    assert verify(made.spki, opened.sign(MESSAGE), MESSAGE)


def test_a_credential_is_encrypted_and_its_owners_alone(path):
    SoftwareCredential.create(path, PASSPHRASE)
    assert path.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_credential_is_never_written_over(path):
    path.write_text("something else")
    with pytest.raises(InvalidInputError, match="exists already"):
        SoftwareCredential.create(path, PASSPHRASE)
    assert path.read_text() == "something else"


def test_a_credential_needs_a_folder_that_exists(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot write"):
        SoftwareCredential.create(tmp_path / "nowhere" / "alice.pem", PASSPHRASE)


def test_a_short_passphrase_is_refused(path):
    with pytest.raises(InvalidInputError, match="at least 8"):
        SoftwareCredential.create(path, b"seven77")
    assert not path.exists()


def test_a_wrong_passphrase_opens_nothing(path):
    SoftwareCredential.create(path, PASSPHRASE)
    with pytest.raises(InvalidInputError, match="does not open") as refusal:
        SoftwareCredential.open(path, b"wrong horse")
    assert "wrong horse" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"no key", b"\x00" * 100])
def test_what_is_no_key_file_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="does not open"):
        SoftwareCredential.open(path, PASSPHRASE)


def test_a_missing_file_is_said_to_be_missing(path):
    with pytest.raises(InvalidInputError, match="No such file"):
        SoftwareCredential.open(path, PASSPHRASE)


OTHER_KEYS = {
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", OTHER_KEYS)
def test_only_p_256_keys_are_credentials(path, kind):
    key = OTHER_KEYS[kind]()
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSPHRASE),
        )
    )
    with pytest.raises(InvalidInputError, match="does not hold a P-256 key"):
        SoftwareCredential.open(path, PASSPHRASE)
    assert not verify(_spki(key), b"\x30\x00", MESSAGE)


def _spki(key):
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_a_good_signature_by_a_larger_curve_does_not_count():
    key = ec.generate_private_key(ec.SECP384R1())
    assert not verify(_spki(key), key.sign(MESSAGE, ec.ECDSA(hashes.SHA256())), MESSAGE)


def test_openssl_agrees_with_our_signatures(tmp_path):
    (tmp_path / "key.der").write_bytes(ALICE.credential.spki)
    (tmp_path / "signature").write_bytes(ALICE.credential.sign(MESSAGE))
    command = "openssl dgst -sha256 -keyform DER -verify key.der -signature signature"
    answer = subprocess.run(
        command.split(), input=MESSAGE, cwd=tmp_path, capture_output=True, check=False
    )
    assert answer.stdout == b"Verified OK\n"


SIGNATURE = ALICE.credential.sign(MESSAGE)


def test_a_signature_is_of_one_key_and_one_message():
    assert verify(ALICE.credential.spki, SIGNATURE, MESSAGE)
    assert not verify(BOB.credential.spki, SIGNATURE, MESSAGE)
    assert not verify(ALICE.credential.spki, SIGNATURE, MESSAGE + b"\n")


def test_no_bit_of_a_signature_is_spare():
    number, size = int.from_bytes(SIGNATURE, "big"), len(SIGNATURE)
    flipped = [(number ^ (1 << bit)).to_bytes(size, "big") for bit in range(size * 8)]
    assert not [bad for bad in flipped if verify(ALICE.credential.spki, bad, MESSAGE)]


@given(st.binary(max_size=100), st.binary(max_size=90))
def test_whatever_is_handed_in_the_answer_is_no_and_not_a_crash(spki, signature):
    assert verify(spki, SIGNATURE, MESSAGE) is False
    assert verify(ALICE.credential.spki, signature, MESSAGE) is False


def test_a_trailing_byte_makes_a_signature_bad():
    assert not verify(ALICE.credential.spki, SIGNATURE + b"\x00", MESSAGE)


def test_openssl_finds_the_same_key_in_a_certificate():
    der = certificate("dcc-1")
    pem = _openssl("x509 -inform DER -pubkey -noout", der)
    assert spki_of_certificate(der) == _openssl("pkey -pubin -outform DER", pem)


def _openssl(arguments, data):
    command = ["openssl", *arguments.split()]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("data", [b"", b"certificate", b"\x30\x03\x02\x01\x01"])
def test_what_is_no_certificate_is_refused(data):
    with pytest.raises(InvalidInputError, match=r"not an X\.509 certificate"):
        spki_of_certificate(data)
