"""Signed files: CMS with a detached signature (RFC 5652), made by a token or by a key of ours.

What is signed are attributes: the file's hash, when it was signed, and by which certificate. The
hash is SHA-256, with a key of P-384 SHA-384 (RFC 5754, RFC 5753).
Checking needs no service: the chain up to roots that the caller believes is looked at here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from asn1crypto import algos, cms, core, tsp  # type: ignore[import-untyped]
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa

from keyvault import signatures
from keyvault.domain.errors import FileSignatureError, InvalidInputError

CMS_LIMIT = 65_536  # bytes of a signature with its certificates
CHAIN_LIMIT = 8  # certificates


@dataclass(frozen=True, slots=True)
class Digests:
    """Of one file. SHA-384 is empty where nobody gave it: keys of P-384 need it."""

    sha256: bytes
    sha384: bytes = b""

    def of(self, name: str) -> bytes:
        """The one that a signature names. Raises `FileSignatureError`."""
        given = {"sha256": self.sha256, "sha384": self.sha384}.get(name)
        if given is None:
            raise FileSignatureError("it is signed neither with SHA-256 nor with SHA-384")
        if not given:
            raise FileSignatureError(
                "it is signed with SHA-384, and the file's was not given",
                next_step="send sha384 beside sha256",
            )
        return given


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed a file, and when they said so."""

    certificate: bytes
    subject: str
    serial: int
    signed_at: datetime


def hash_of(certificate: bytes) -> str:
    """What a certificate's key signs with: "sha256" or "sha384"."""
    return "sha384" if signatures.is_p384(signatures.spki_of_certificate(certificate)) else "sha256"


def attributes(digests: Digests, certificate: bytes, now: datetime) -> bytes:
    """What is to be signed (DER, a SET) for a file."""
    named = tsp.ESSCertIDv2({"cert_hash": sha256(certificate).digest()})
    values = {
        "content_type": "data",
        "message_digest": digests.of(hash_of(certificate)),
        "signing_time": cms.Time({"utc_time": core.UTCTime(now.replace(microsecond=0))}),
        "signing_certificate_v2": tsp.SigningCertificateV2({"certs": [named]}),
    }
    made = [cms.CMSAttribute({"type": kind, "values": [value]}) for kind, value in values.items()]
    return bytes(cms.CMSAttributes(made).dump())


def assemble(signed: bytes, chain: Sequence[bytes], signature: bytes) -> bytes:
    """The CMS (DER) of attributes and the signature over them. `chain` begins with the signer's."""
    digest = algos.DigestAlgorithm({"algorithm": hash_of(chain[0])})
    info = {
        "version": "v1",
        "sid": _named(chain[0]),
        "digest_algorithm": digest,
        "signed_attrs": cms.CMSAttributes.load(signed),
        "signature_algorithm": {"algorithm": _algorithm(chain[0])},
        "signature": signature,
    }
    data = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [digest],
            "encap_content_info": {"content_type": "data"},
            "certificates": [asn1.Certificate.load(each) for each in chain],
            "signer_infos": [cms.SignerInfo(info)],
        }
    )
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": data}).dump())


def _named(certificate: bytes) -> Any:
    read = asn1.Certificate.load(certificate)
    named = {"issuer": read.issuer, "serial_number": read.serial_number}
    return cms.SignerIdentifier({"issuer_and_serial_number": cms.IssuerAndSerialNumber(named)})


def _algorithm(certificate: bytes) -> str:
    key = x509.load_der_x509_certificate(certificate).public_key()
    is_rsa = isinstance(key, rsa.RSAPublicKey)
    return "sha256_rsa" if is_rsa else f"{hash_of(certificate)}_ecdsa"


def check(data: bytes, digests: Digests, roots: Sequence[bytes], now: datetime) -> Signer:
    """Say who signed the file with these hashes. Raises `FileSignatureError` with what is wrong."""
    if len(data) > CMS_LIMIT:
        raise FileSignatureError(f"a signature has at most {CMS_LIMIT} bytes")
    try:
        return _checked(data, digests, roots, now)
    except UNREADABLE as error:
        raise FileSignatureError(
            "this is no CMS signature by one signer", next_step="give the .p7s beside the file"
        ) from error


# What the parsers raise at what is no CMS, or none that anybody would write.
UNREADABLE = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, UnsupportedAlgorithm),
    *(InvalidInputError, RecursionError, OverflowError),
    *(x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)


def _checked(data: bytes, digests: Digests, roots: Sequence[bytes], now: datetime) -> Signer:
    info, certificates = _taken_apart(data)
    found = _said(info)
    if found["message_digest"].native != digests.of(_digest_name(info)):
        raise FileSignatureError(
            "this is another file than the one that was signed, or it was changed since",
            next_step="ask for the file again",
        )
    leaf = _signer(info, certificates)
    named = found["signing_certificate_v2"]["certs"][0]["cert_hash"].native
    if named != sha256(leaf.public_bytes(signatures.DER)).digest():
        raise FileSignatureError("the signature names another certificate")
    _check_signature(info, leaf)
    _check_usage(leaf)
    check_chain(leaf, certificates, roots, now)
    return Signer(
        leaf.public_bytes(signatures.DER),
        leaf.subject.rfc4514_string(),
        leaf.serial_number,
        found["signing_time"].native,
    )


def _said(info: Any) -> dict[str, Any]:
    """The signed attributes by their names, each of which is there once (RFC 5652, 11)."""
    kinds = [each["type"].native for each in info["signed_attrs"]]
    wanted = {"content_type", "message_digest", "signing_time", "signing_certificate_v2"}
    if not wanted <= set(kinds):
        raise FileSignatureError("the signature does not say what has to be signed")
    values = [list(each["values"]) for each in info["signed_attrs"]]
    if len(set(kinds)) < len(kinds) or any(len(each) != 1 for each in values):
        raise FileSignatureError("the signature says one thing twice")
    return {kind: value for kind, (value,) in zip(kinds, values, strict=True)}


def _taken_apart(data: bytes) -> tuple[Any, list[x509.Certificate]]:
    whole = cms.ContentInfo.load(data, strict=True)
    if whole["content_type"].native != "signed_data":
        raise FileSignatureError("this is no detached CMS signature")
    content = whole["content"]
    [info] = content["signer_infos"]
    if len(content["certificates"]) > CHAIN_LIMIT:
        raise FileSignatureError(f"a signature comes with at most {CHAIN_LIMIT} certificates")
    certificates = [
        x509.load_der_x509_certificate(each.chosen.dump()) for each in content["certificates"]
    ]
    _ = info["signed_attrs"].native  # all of it is read here, not some of it later
    return info, certificates


def _signer(info: Any, certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    sid = info["sid"].chosen
    for one in certificates:
        is_named = isinstance(sid, cms.IssuerAndSerialNumber)
        if is_named and one.serial_number == sid["serial_number"].native:
            return one
    raise FileSignatureError("the signer's certificate is not with the signature")


def _check_signature(info: Any, leaf: x509.Certificate) -> None:
    spki = signatures.spki_of_certificate(leaf.public_bytes(signatures.DER))
    message = b"\x31" + info["signed_attrs"].dump()[1:]  # signed as a SET, sent as [0]
    if _digest_name(info) != hash_of(leaf.public_bytes(signatures.DER)):
        raise FileSignatureError("it is not signed with the hash that goes with its key")
    if not signatures.verify_possession(spki, info["signature"].native, message):
        raise FileSignatureError("the signature is not by the key of its certificate")


def _digest_name(info: Any) -> str:
    return str(info["digest_algorithm"]["algorithm"].native)


def _check_usage(leaf: x509.Certificate) -> None:
    """Only a certificate to sign with: none of a login, of agreement, or of an authority."""
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise FileSignatureError("the certificate does not say what its key is for") from error
    purposes = [each for each in leaf.extensions if isinstance(each.value, x509.ExtendedKeyUsage)]
    if not (usage.digital_signature or usage.content_commitment) or purposes:
        raise FileSignatureError(
            "the certificate is not one to sign files with",
            next_step="sign with slot 9C of a token, or with a key that is made to sign",
        )


def check_chain(
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    roots: Sequence[bytes],
    now: datetime,
) -> None:
    """Raise `FileSignatureError` unless one of `roots` (DER) leads to `leaf`, all valid now."""
    believed = [x509.load_der_x509_certificate(each) for each in roots]
    current = leaf
    for _ in range(CHAIN_LIMIT):
        if not current.not_valid_before_utc <= now < current.not_valid_after_utc:
            raise FileSignatureError(f"{current.subject.rfc4514_string()} is not valid now")
        if any(_issued(current, root) for root in believed):
            return
        following = next((each for each in others if _issued(current, each)), None)
        if following is None or following == current:
            break
        current = following
    raise FileSignatureError(
        "nobody you believe certified the signer", next_step="give the right root by --trust"
    )


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound):
        return False
    return constraints.ca
