"""What an issuer signs on a card: its CHUID, and the hashes of its data objects (CMS, RFC 5652).

FIPS 201-3, 4.2.1 and SP 800-73-4 part 1, 3.1.2 and 3.1.7: one key signs both. Its certificate is
in the CHUID's signature and nowhere else. What the hashes stand in is the LDS security object of
the ICAO's machine readable travel documents.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from asn1crypto import algos, cms, core  # type: ignore[import-untyped]
from asn1crypto import x509 as asn1

from hsm.errors import CardDataError
from hsm.pcsc.containers import DATA_GROUPS
from hsm.pcsc.piv import PivObject

CHUID_OBJECT = "2.16.840.1.101.3.6.1"  # id-PIV-CHUIDSecurityObject
LDS_OBJECT = "1.3.27.1.1.1"  # id-icao-ldsSecurityObject as PIV has it
SIGNER_NAME = "2.16.840.1.101.3.6.5"  # pivSigner-DN
SHA256 = {"algorithm": "sha256"}
LIMIT = 16_384  # bytes of one signature that is read

Sign = Callable[[bytes], bytes]
"""(message) → its ECDSA signature with SHA-256, in DER."""


class _Names(core.SetOf):  # type: ignore[misc]  # asn1crypto has no types
    _child_spec = asn1.Name


class _SignerName(core.Sequence):  # type: ignore[misc]
    _fields = [("type", core.ObjectIdentifier), ("values", _Names)]  # noqa: RUF012  (its form)


class _GroupHash(core.Sequence):  # type: ignore[misc]
    _fields = [("number", core.Integer), ("value", core.OctetString)]  # noqa: RUF012  (its form)


class _GroupHashes(core.SequenceOf):  # type: ignore[misc]
    _child_spec = _GroupHash


class _LdsObject(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012  (asn1crypto's form, which it completes in place)
        ("version", core.Integer),
        ("hash_algorithm", algos.DigestAlgorithm),
        ("hashes", _GroupHashes),
    ]


@dataclass(frozen=True, slots=True)
class Statement:
    """One CMS with one signer, taken apart, and nothing of it checked.

    Whoever checks it makes it anew of these parts, and compares: then every byte counts.
    """

    content: bytes  # empty where it is detached
    certificates: tuple[bytes, ...]
    signature: bytes


def sign_chuid(part: bytes, certificate: bytes, sign: Sign) -> bytes:
    """Sign a CHUID without its signature; the certificate of who signs comes with it."""
    subject = asn1.Certificate.load(certificate).subject
    named = _SignerName({"type": SIGNER_NAME, "values": _Names([subject])})
    data = {"content_type": CHUID_OBJECT}
    return _signed(data, part, certificate, sign, named.dump(), enclosed=(certificate,))


def sign_objects(objects: Mapping[PivObject, bytes], certificate: bytes, sign: Sign) -> bytes:
    """Sign the SHA-256 of every data object, by its data group."""
    found = sorted((DATA_GROUPS[where].number, content) for where, content in objects.items())
    hashes = [{"number": n, "value": sha256(content).digest()} for n, content in found]
    lds = _LdsObject({"version": 0, "hash_algorithm": SHA256, "hashes": hashes}).dump()
    data = {"content_type": LDS_OBJECT, "content": core.ParsableOctetString(lds)}
    return _signed(data, lds, certificate, sign)


def _signed(
    data: dict[str, Any],
    content: bytes,
    certificate: bytes,
    sign: Sign,
    *more: bytes,
    enclosed: tuple[bytes, ...] = (),
) -> bytes:
    attributes = _attributes(data["content_type"], content, more)
    info = {
        "version": "v1",
        "sid": _named(certificate),
        "digest_algorithm": SHA256,
        "signed_attrs": attributes,
        "signature_algorithm": {"algorithm": "sha256_ecdsa"},
        "signature": sign(attributes.dump()),
    }
    whole = {"version": "v3", "digest_algorithms": [SHA256], "encap_content_info": data}
    if enclosed:
        whole["certificates"] = [asn1.Certificate.load(each) for each in enclosed]
    body = cms.SignedData({**whole, "signer_infos": [info]})
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": body}).dump())


def _attributes(kind: str, content: bytes, more: tuple[bytes, ...]) -> Any:
    said: dict[str, Any] = {"content_type": kind, "message_digest": sha256(content).digest()}
    made = [cms.CMSAttribute({"type": name, "values": [value]}) for name, value in said.items()]
    return cms.CMSAttributes([*made, *(cms.CMSAttribute.load(each) for each in more)])


def _named(certificate: bytes) -> Any:
    read = asn1.Certificate.load(certificate)
    named = {"issuer": read.issuer, "serial_number": read.serial_number}
    return cms.SignerIdentifier({"issuer_and_serial_number": cms.IssuerAndSerialNumber(named)})


def read_statement(data: bytes) -> Statement:
    """Raises `CardDataError` at what is no CMS with one signer."""
    if len(data) > LIMIT:
        raise CardDataError(f"a signature on the card has more than {LIMIT} bytes")
    try:
        body = cms.ContentInfo.load(data, strict=True)["content"]
        [info] = body["signer_infos"]
        return Statement(
            content=bytes(body["encap_content_info"]["content"].native or b""),
            certificates=tuple(each.chosen.dump() for each in body["certificates"]),
            signature=bytes(info["signature"].native),
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise CardDataError("a signature on the card cannot be read") from error


def read_hashes(content: bytes) -> dict[int, bytes]:
    """SHA-256 of data objects, by data group, out of an LDS security object."""
    try:
        lds = _LdsObject.load(content, strict=True)
        algorithm, found = lds["hash_algorithm"]["algorithm"].native, list(lds["hashes"])
        hashes = {int(each["number"].native): bytes(each["value"].native) for each in found}
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise CardDataError("the hashes in the security object cannot be read") from error
    if algorithm != "sha256" or len(hashes) != len(found):
        raise CardDataError("the security object has other hashes than SHA-256, or one twice")
    return hashes
