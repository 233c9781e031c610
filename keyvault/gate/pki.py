"""Certificates, lists and answers about them, as our own authorities sign them (RFC 5280, 6960).

`cryptography` yields what is to be signed only after a key has signed it, so a throw-away key
makes a draft, and the signature of the authority takes the place of that of the draft.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from asn1crypto import ocsp  # type: ignore[import-untyped]
from asn1crypto.core import OctetBitString, OctetString  # type: ignore[import-untyped]
from asn1crypto.crl import CertificateList  # type: ignore[import-untyped]
from asn1crypto.x509 import Certificate  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import AuthorityInformationAccessOID, ObjectIdentifier

from keyvault.domain.errors import InvalidInputError
from keyvault.domain.token_profiles import (
    CERT_SIGN,
    CRL_SIGN,
    KEY_AGREEMENT,
    LEAVES,
    NON_REPUDIATION,
    LeafProfile,
)

Sign = Callable[[bytes], bytes]
"""What an authority's key does: (message) → ECDSA signature in DER."""
SHA256 = hashes.SHA256()
Names = Sequence[tuple[ObjectIdentifier, str]]


@dataclass(frozen=True, slots=True)
class Life:
    """Serial and dates of one certificate."""

    serial: int
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Revoked:
    serial: int
    at: datetime
    reason: str  # a name of RFC 5280, 5.3.1


def name_of(names: Names) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in names])


def public_key(spki: bytes) -> Any:
    """Read a key to be certified. Raises `InvalidInputError` on one that is too weak."""
    try:
        key = load_der_public_key(spki)
    except ValueError as error:
        raise InvalidInputError("the public key cannot be read") from error
    curves = (ec.SECP256R1, ec.SECP384R1)
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, curves):
        return key
    if getattr(key, "key_size", 0) >= 2048 and hasattr(key, "public_numbers"):  # noqa: PLR2004  (bits of RSA)
        return key
    raise InvalidInputError("a certified key is of P-256, P-384, or RSA of 2,048 bits or more")


def authority(
    subject: x509.Name, spki: bytes, parent: x509.Certificate | None, life: Life
) -> x509.CertificateBuilder:
    """Write the certificate of an authority; without a parent it is a root."""
    key = public_key(spki)
    builder = _begun(parent.subject if parent else subject, subject, key, life)
    depth = None if parent is None else 0
    constraints = x509.BasicConstraints(ca=True, path_length=depth)
    builder = builder.add_extension(constraints, critical=True)
    builder = builder.add_extension(_usage({CERT_SIGN, CRL_SIGN}), critical=True)
    return _identified(builder, key, parent)


def leaf(
    profile: LeafProfile,
    subject: x509.Name,
    spki: bytes,
    issuer: x509.Certificate,
    life: Life,
    *,
    names: Sequence[str] = (),
    url: str = "",
) -> x509.CertificateBuilder:
    """Write a certificate of a person, system or server. `url` is where its status is told."""
    key, terms = public_key(spki), LEAVES[profile]
    builder = _begun(issuer.subject, subject, key, life)
    builder = builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    builder = builder.add_extension(_usage(terms.usages), critical=True)
    if terms.purpose:
        purposes = x509.ExtendedKeyUsage([ObjectIdentifier(terms.purpose)])
        builder = builder.add_extension(purposes, critical=terms.critical)
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternative, critical=False)
    return _located(_identified(builder, key, issuer), url)


def _begun(issuer: x509.Name, subject: x509.Name, key: Any, life: Life) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(issuer, subject, key, life.serial, life.begin, life.end)


def _identified(
    builder: x509.CertificateBuilder, key: Any, issuer: x509.Certificate | None
) -> x509.CertificateBuilder:
    own = x509.SubjectKeyIdentifier.from_public_key(key)
    builder = builder.add_extension(own, critical=False)
    if issuer is None:
        return builder
    theirs = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    named = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(theirs)
    return builder.add_extension(named, critical=False)


def _located(builder: x509.CertificateBuilder, url: str) -> x509.CertificateBuilder:
    """Say where the list and the answers are, if there is an address for them."""
    if not url:
        return builder
    place = x509.UniformResourceIdentifier(f"{url}/crl")
    lists = x509.CRLDistributionPoints([x509.DistributionPoint([place], None, None, None)])
    ways = [
        (AuthorityInformationAccessOID.OCSP, "ocsp"),
        (AuthorityInformationAccessOID.CA_ISSUERS, "certificate"),
    ]
    about = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(kind, x509.UniformResourceIdentifier(f"{url}/{name}"))
            for kind, name in ways
        ]
    )
    return builder.add_extension(lists, critical=False).add_extension(about, critical=False)


def _usage(bits: frozenset[int] | set[int]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=0 in bits,
        content_commitment=NON_REPUDIATION in bits,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=KEY_AGREEMENT in bits,
        key_cert_sign=CERT_SIGN in bits,
        crl_sign=CRL_SIGN in bits,
        encipher_only=False,
        decipher_only=False,
    )


# Signing -------------------------------------------------------------------------------------


def draft(builder: x509.CertificateBuilder) -> bytes:
    """Return a certificate that says all that the real one will, signed by nobody we know."""
    return builder.sign(_throw_away(), SHA256).public_bytes(Encoding.DER)


def signed(draft: bytes, sign: Sign) -> bytes:
    """Put the authority's signature in the place of the draft's."""
    made = Certificate.load(draft)
    made["signature_value"] = OctetBitString(sign(made["tbs_certificate"].dump()))
    return bytes(made.dump())


def revocation_list(
    issuer: x509.Certificate,
    number: int,
    dates: tuple[datetime, datetime],
    entries: Sequence[Revoked],
    sign: Sign,
) -> bytes:
    """A CRL of version 2 with all that is revoked (RFC 5280, 5), in DER."""
    this_update, next_update = dates
    builder = x509.CertificateRevocationListBuilder(issuer.subject, this_update, next_update)
    for entry in entries:
        builder = builder.add_revoked_certificate(_entry(entry))
    theirs = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    named = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(theirs)
    builder = builder.add_extension(named, critical=False)
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    drafted = builder.sign(_throw_away(), SHA256).public_bytes(Encoding.DER)
    made = CertificateList.load(drafted)
    made["signature"] = OctetBitString(sign(made["tbs_cert_list"].dump()))
    return bytes(made.dump())


def _entry(entry: Revoked) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder(entry.serial, entry.at)
    reason = x509.CRLReason(x509.ReasonFlags(entry.reason))
    return builder.add_extension(reason, critical=False).build()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of one certificate: `revoked` is None for a good one."""

    name_hash: bytes  # SHA-1 or SHA-256 of the issuer's name and key, as the asker wrote them
    key_hash: bytes
    algorithm: str
    serial: int
    known: bool
    revoked: Revoked | None


def response(
    issuer: x509.Certificate,
    answer: Answer,
    dates: tuple[datetime, datetime],
    nonce: bytes,
    sign: Sign,
) -> bytes:
    """An OCSP response of the authority itself about one certificate, in DER."""
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    told: dict[str, Any] = {
        "responder_id": ocsp.ResponderId({"by_key": own}),
        "produced_at": dates[0],
        "responses": [_single(answer, dates)],
    }
    if nonce:
        told["response_extensions"] = [{"extn_id": "nonce", "extn_value": OctetString(nonce)}]
    data = ocsp.ResponseData(told)
    basic = {
        "tbs_response_data": data,
        "signature_algorithm": {"algorithm": "sha256_ecdsa"},
        "signature": sign(data.dump()),
    }
    inside = {"response_type": "basic_ocsp_response", "response": ocsp.BasicOCSPResponse(basic)}
    whole = {"response_status": "successful", "response_bytes": inside}
    return bytes(ocsp.OCSPResponse(whole).dump())


def _single(answer: Answer, dates: tuple[datetime, datetime]) -> dict[str, Any]:
    return {
        "cert_id": {
            "hash_algorithm": {"algorithm": answer.algorithm},
            "issuer_name_hash": answer.name_hash,
            "issuer_key_hash": answer.key_hash,
            "serial_number": answer.serial,
        },
        "cert_status": _status(answer),
        "this_update": dates[0],
        "next_update": dates[1],
    }


def _status(answer: Answer) -> Any:
    if not answer.known:
        return ocsp.CertStatus({"unknown": ocsp.StatusUnknown()})
    if answer.revoked is None:
        return ocsp.CertStatus({"good": ocsp.StatusGood()})
    reason = _REASONS[answer.revoked.reason]
    gone = {"revocation_time": answer.revoked.at, "revocation_reason": reason}
    return ocsp.CertStatus({"revoked": ocsp.RevokedInfo(gone)})


_REASONS = {  # names of RFC 5280, as asn1crypto writes them
    "keyCompromise": "key_compromise",
    "affiliationChanged": "affiliation_changed",
    "superseded": "superseded",
    "cessationOfOperation": "cessation_of_operation",
}


def _throw_away() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())
