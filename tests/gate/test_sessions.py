"""Session certificates: only what a person's own key delegates, and a CA that TLS accepts."""

import base64
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from keyvault.domain.canonical import canonical
from keyvault.domain.errors import InvalidInputError, NotAuthenticatedError, VaultError
from keyvault.domain.times import text_of
from keyvault.gate.client import Gate
from keyvault.signatures import spki_der
from tests.gate.house import House, delegation
from tests.unit.officers import ALICE, BOB, BOB_TO_LOG_IN, changed, officer, places

KEY = ec.generate_private_key(ec.SECP256R1())
SPKI = base64.b64encode(spki_der(KEY.public_key())).decode()


def _issue(gate: Gate, document: dict[str, Any], signer: Any = ALICE) -> x509.Certificate:
    certificate = gate.issue_session(document, signer.credential.sign(canonical(document)))
    return x509.load_der_x509_certificate(certificate)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def ca(gate: Gate) -> x509.Certificate:
    return x509.load_der_x509_certificate(gate.session_ca())


def test_the_ca_is_the_key_that_genesis_names(ca: x509.Certificate, house: House):
    spki = ca.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert house.services is not None
    assert spki == house.services.session_ca
    ca.verify_directly_issued_by(ca)
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_session_certificate_names_the_person_and_ends_with_the_delegation(
    gate: Gate, ca: x509.Certificate
):
    document = delegation(ALICE, SPKI)
    issued = _issue(gate, document)
    issued.verify_directly_issued_by(ca)
    credential = ALICE.decides({}).credential
    assert issued.subject.rfc4514_string() == f"2.5.4.5={credential},CN=alice"
    assert text_of(issued.not_valid_after_utc) == document["not_after"]
    assert issued.public_key() == KEY.public_key()
    usages = issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_key_that_only_logs_in_opens_a_session(gate: Gate):
    issued = _issue(gate, delegation(BOB_TO_LOG_IN, SPKI), BOB_TO_LOG_IN)
    assert issued.subject.rfc4514_string() == f"2.5.4.5={BOB_TO_LOG_IN.thumbprint},CN=bob"


def test_serial_numbers_are_random(gate: Gate):
    serials = {_issue(gate, delegation(ALICE, SPKI)).serial_number for _ in range(8)}
    assert len(serials) == 8
    assert min(serials).bit_length() > 100


def test_openssl_accepts_the_chain(gate: Gate, ca: x509.Certificate, tmp_path: Path):
    (tmp_path / "ca.pem").write_bytes(_pem(ca))
    (tmp_path / "leaf.pem").write_bytes(_pem(_issue(gate, delegation(ALICE, SPKI))))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "ca.pem"]
    done = subprocess.run([*command, "leaf.pem"], cwd=tmp_path, capture_output=True, check=False)
    assert done.stdout == b"leaf.pem: OK\n", done.stderr


def test_a_tls_server_that_trusts_the_ca_lets_the_session_in(
    gate: Gate, ca: x509.Certificate, tmp_path: Path
):
    leaf = _issue(gate, delegation(ALICE, SPKI))
    private = KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "pair.pem").write_bytes(private + _pem(leaf))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "pair.pem")  # any certificate will do for the server
    server.load_verify_locations(cadata=_pem(ca).decode())
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.load_cert_chain(tmp_path / "pair.pem")
    here, there = socket.socketpair()
    seen: list[bytes] = []

    def serve() -> None:
        with server.wrap_socket(there, server_side=True) as link:
            seen.append(link.getpeercert(binary_form=True) or b"")
            link.sendall(b"welcome")

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(here) as link:
        assert link.recv(16) == b"welcome"
    thread.join()
    assert seen == [leaf.public_bytes(serialization.Encoding.DER)]


def test_a_delegation_changed_in_any_field_after_signing_is_refused(gate: Gate):
    document = delegation(ALICE, SPKI)
    signature = ALICE.credential.sign(canonical(document))
    for place in places(document):
        with pytest.raises(VaultError):
            gate.issue_session(changed(document, place, lambda value: f"{value}0"), signature)


def _time(**ago: float) -> str:
    return text_of(datetime.now(UTC) - timedelta(**ago))


MALLORY = officer("mallory")
REFUSED = {
    "another's signature": (delegation(ALICE, SPKI), BOB),
    "a stranger": (delegation(MALLORY, SPKI), MALLORY),
    "a stranger under another's name": (delegation(MALLORY, SPKI, person="alice"), MALLORY),
    "another's credential": (
        delegation(ALICE, SPKI, credential=delegation(BOB, SPKI)["credential"]),
        ALICE,
    ),
    "another log": (delegation(ALICE, SPKI, origin="example.test/keys/2025-1"), ALICE),
    "another context": (delegation(ALICE, SPKI, ctx="keyvault-approval-v1"), ALICE),
    "a field too many": (delegation(ALICE, SPKI, more="x"), ALICE),
    "too long": (delegation(ALICE, SPKI, hours=25), ALICE),
    "over": (delegation(ALICE, SPKI, issued_at=_time(hours=9), not_after=_time(hours=1)), ALICE),
    "not yet": (
        delegation(ALICE, SPKI, hours=2, issued_at=_time(hours=-1)),
        ALICE,
    ),
}


@pytest.mark.parametrize("why", list(REFUSED))
def test_a_delegation_that_proves_nothing_is_refused(gate: Gate, why: str):
    document, signer = REFUSED[why]
    with pytest.raises(NotAuthenticatedError):
        _issue(gate, document, signer)


def test_a_delegation_without_one_of_its_fields_is_refused(gate: Gate):
    document = delegation(ALICE, SPKI)
    for name in document:
        with pytest.raises(NotAuthenticatedError):
            _issue(gate, {key: value for key, value in document.items() if key != name})


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        rsa.generate_private_key(65537, 2048).public_key(),
    ],
    ids=["P-384", "RSA"],
)
def test_a_session_has_a_key_on_p256(gate: Gate, key: Any):
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for text in (base64.b64encode(spki).decode(), base64.b64encode(b"no key").decode(), "no base"):
        with pytest.raises(InvalidInputError):
            _issue(gate, delegation(ALICE, text))
