"""Client certificates for people's sessions, issued on their own signed delegation.

A person's credential signs once, at login, for a key that lives some hours. Nothing here can be
had without that signature: not by the web process, not by whoever edits its database.
"""

import base64
from datetime import UTC, datetime, timedelta

from asn1crypto.x509 import Certificate, TbsCertificate  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hsm.device import Device
from keyvault import signatures
from keyvault.domain.approvals import CLOCK_LEEWAY
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.errors import InvalidInputError, NotAuthenticatedError
from keyvault.domain.keys import service_key_id
from keyvault.domain.people import Person
from keyvault.domain.times import time_of
from keyvault.gate.services import SESSION_CA, sign_p256

LOGIN_CONTEXT = "keyvault-login-v1"
MAX_LIFE = timedelta(hours=24)
CA_LIFE = timedelta(days=3650)
ISSUER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keyvault sessions")])
DELEGATION_FIELDS = {
    *("ctx", "origin", "challenge", "session_spki", "issued_at", "not_after"),
    *("person", "credential"),
}


def ca_certificate(device: Device) -> bytes:
    """Return the session CA's certificate in DER, self-signed by its key in the device."""
    ca_key = p256_key(device.public_key(service_key_id(SESSION_CA)))
    now = datetime.now(UTC)
    builder = (
        _builder(ISSUER, ca_key, ca_key, now - timedelta(days=1), now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    return issued(device, builder, SESSION_CA)


def issue(
    device: Device, authority: Authority, delegation: Document, signature: bytes, now: datetime
) -> bytes:
    """Return a client certificate (DER) for the key that a person delegates to.

    Its subject names the person and the credential that signed: a person who comes back with a
    new credential does not bring the sessions of the old one back to life.

    Raises `NotAuthenticatedError` unless the person's enrolled key signed exactly this.
    """
    person, until = check(authority, delegation, signature, now)
    credential = str(delegation["credential"])
    ca_key = p256_key(device.public_key(service_key_id(SESSION_CA)))
    session_key = _session_key(delegation["session_spki"])
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, person.id),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, credential),
        ]
    )
    builder = (
        _builder(subject, session_key, ca_key, now - CLOCK_LEEWAY, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    return issued(device, builder, SESSION_CA)


def check(
    authority: Authority, delegation: Document, signature: bytes, now: datetime
) -> tuple[Person, datetime]:
    """Say whose delegation it is and when it ends. Raises `NotAuthenticatedError`."""
    if set(delegation) != DELEGATION_FIELDS or delegation["ctx"] != LOGIN_CONTEXT:
        raise NotAuthenticatedError("not a delegation of this version")
    person = authority.people.get(str(delegation["person"]))
    credential = person.credential(str(delegation["credential"])) if person else None
    if (
        person is None
        or credential is None
        or delegation["origin"] != authority.origin
        or not signatures.verify(credential.spki, signature, canonical(delegation))
    ):
        raise NotAuthenticatedError("nobody known here signed this delegation for this log")
    begin, until = time_of(delegation["issued_at"]), time_of(delegation["not_after"])
    if begin > now + CLOCK_LEEWAY or until <= now:
        raise NotAuthenticatedError("the delegation is not of this time", next_step="log in again")
    if until - begin > MAX_LIFE:
        raise NotAuthenticatedError(f"a delegation lasts {MAX_LIFE} at most")
    return person, until


def _builder(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    ca_key: ec.EllipticCurvePublicKey,
    begin: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key)
    return (
        x509.CertificateBuilder(ISSUER, subject, key, x509.random_serial_number(), begin, end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(issuer_id, critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def issued(device: Device, builder: x509.CertificateBuilder, signer: str) -> bytes:
    """Sign a certificate in the device, with the service key of that name.

    A throw-away key signs first, for `cryptography` only then yields what is to be signed.
    """
    draft = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    signed = draft.tbs_certificate_bytes
    signature = sign_p256(device, signer, signed)
    tbs = TbsCertificate.load(signed)
    certificate = Certificate(
        {
            "tbs_certificate": tbs,
            "signature_algorithm": tbs["signature"],
            "signature_value": signature,
        }
    )
    return bytes(certificate.dump())


def _session_key(text: str) -> ec.EllipticCurvePublicKey:
    try:
        return p256_key(base64.b64decode(text, validate=True))
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInputError("the session's key cannot be read") from error


def p256_key(spki: bytes) -> ec.EllipticCurvePublicKey:
    key = load_der_public_key(spki)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInputError("a session's key is a P-256 key")
    return key
