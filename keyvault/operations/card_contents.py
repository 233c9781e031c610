"""A card's data objects held against what its issuer signed of them. Asks no service.

SP 800-73-4 part 1, 3.1.2 and 3.1.7: who signs is named in the CHUID, and the security object has
the hash of everything else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from cryptography import x509

from hsm.errors import CardDataError, CardObjectMissingError
from hsm.pcsc import containers, contents, tlv
from hsm.pcsc.piv import GUID_SIZE, PivObject, Tag
from keyvault import signatures
from keyvault.domain.errors import CardChangedError, FileSignatureError, InvalidInputError
from keyvault.domain.times import text_of
from keyvault.domain.token_profiles import Purpose
from keyvault.operations import cms

_NEXT = "keep the card, take it out of use: keyvault tokens suspend TOKEN"
_ANOTHER = "find out why; give its holder another: keyvault tokens nominate HOLDER --replaces TOKEN"
Read = Callable[[PivObject], bytes]
"""(object) → what the card has in it. Raises `CardObjectMissingError`."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What was found on a card, all of it as its issuer signed it."""

    guid: UUID  # the token's id
    signer: str
    serial: int  # of the signer's certificate
    objects: tuple[PivObject, ...]


def check(
    read: Read, roots: Sequence[bytes], now: datetime, revoked: Sequence[bytes] = ()
) -> Contents:
    """Hold a card against its security object. `roots` (DER) are whom the caller believes.

    `revoked` are lists (CRL, DER) by them; without any, revocation is not asked. Raises
    `CardChangedError` with every object that differs, or that is there and not signed, or where
    the signer has ended or is on a list; `CardObjectMissingError` where the card has no security
    object; `InvalidInputError` where lists are given and none of today is about the signer.
    """
    found = _read_all(read)
    sealed, chuid = found.pop(PivObject.SECURITY_OBJECT, b""), found.get(PivObject.CHUID, b"")
    if not sealed or not chuid:
        raise CardObjectMissingError(
            "this card has no security object",
            next_step="See why in its issuing job: keyvault issuing show JOB.",
        )
    guid, signer = _identity(chuid, roots, now)
    if revoked:
        _check_revoked(signer, roots, revoked, now)
    _check_objects(found, sealed, signer)
    objects = tuple(sorted(found, key=containers.DATA_GROUPS.__getitem__))
    return Contents(guid, signer.subject.rfc4514_string(), signer.serial_number, objects)


def _read_all(read: Read) -> dict[PivObject, bytes]:
    found = {}
    for where in (*containers.DATA_GROUPS, PivObject.SECURITY_OBJECT):
        try:
            found[where] = read(where)
        except CardObjectMissingError:
            continue
    return found


def _identity(chuid: bytes, roots: Sequence[bytes], now: datetime) -> tuple[UUID, x509.Certificate]:
    """The token's id, and the certificate of who signed that this card has it."""
    part, signed = containers.chuid_parts(chuid)
    told, guid = contents.read_statement(signed), tlv.template(part).get(Tag.GUID, b"")
    if len(told.certificates) != 1 or len(guid) != GUID_SIZE:
        raise CardDataError("the card's identity has no GUID, or is not signed by one signer")
    try:
        signer = _believed(told.certificates[0], roots, now)
    except cms.UNREADABLE as error:
        raise CardDataError("the certificate of the card's signer cannot be read") from error
    _check_made(signed, signer, lambda own, sign: contents.sign_chuid(part, own, sign), "identity")
    return UUID(bytes=guid), signer


def _check_objects(found: dict[PivObject, bytes], sealed: bytes, signer: x509.Certificate) -> None:
    table, signed = containers.security_parts(sealed)
    hashes = contents.read_hashes(contents.read_statement(signed).content)
    named = {where: hashes.get(number, b"") for number, where in table.items()}
    wrong = [o for o, h in named.items() if sha256(found.get(o, b"")).digest() != h]
    if wrong := [*wrong, *(each for each in found if each not in named)]:
        names = ", ".join(sorted(each.name.lower().replace("_", " ") for each in wrong))
        raise CardChangedError(f"not as the issuer signed it: {names}", next_step=_NEXT)
    what = "security object"
    _check_made(signed, signer, lambda own, sign: contents.sign_objects(found, own, sign), what)
    if containers.security_object(found, signed) != sealed:
        raise CardChangedError(f"not as the issuer signed it: {what}", next_step=_NEXT)


def _check_made(
    signed: bytes,
    signer: x509.Certificate,
    make: Callable[[bytes, contents.Sign], bytes],
    what: str,
) -> None:
    """Made anew with the signature that is there, it has to be the same to the last byte."""
    signature, own = contents.read_statement(signed).signature, signer.public_bytes(signatures.DER)
    words: list[bytes] = []

    def sign(message: bytes) -> bytes:
        words.append(message)
        return signature

    same, spki = make(own, sign) == signed, signatures.spki_of_certificate(own)
    if not same or not signatures.verify_possession(spki, signature, words[0]):
        raise CardChangedError(
            f"the signature under the card's {what} is not of what stands there", next_step=_NEXT
        )


def _believed(certificate: bytes, roots: Sequence[bytes], now: datetime) -> x509.Certificate:
    """Only a certificate to sign cards with, and one that the caller believes."""
    signer = x509.load_der_x509_certificate(certificate)
    signatures.spki_of_certificate(certificate)
    purposes = [each for each in signer.extensions if isinstance(each.value, x509.ExtendedKeyUsage)]
    meant = [purpose.dotted_string for each in purposes for purpose in each.value]
    if meant != [Purpose.CONTENT_SIGNING]:
        raise CardChangedError("the card's identity is signed by who may not sign cards")
    if now >= signer.not_valid_after_utc:
        ended = text_of(signer.not_valid_after_utc)
        raise CardChangedError(f"who signed this card could until {ended}", next_step=_ANOTHER)
    try:
        cms.check_chain(signer, [], roots, now)
    except FileSignatureError as error:
        raise CardChangedError(str(error), next_step=error.next_step) from error
    return signer


def _check_revoked(
    signer: x509.Certificate, roots: Sequence[bytes], lists: Sequence[bytes], now: datetime
) -> None:
    """Every list has to be one; one at least has to be by the signer's authority, and count now."""
    believed = [x509.load_der_x509_certificate(each) for each in roots]
    read = [_list(each) for each in lists]
    about = [each for each in read if _counts(each, signer, believed, now)]
    if not about:
        raise InvalidInputError(
            "no list that counts now is by the authority of the card's signer",
            next_step="get its newest: keyvault ca crl AUTHORITY --out FILE",
        )
    for each in about:
        if entry := each.get_revoked_certificate_by_serial_number(signer.serial_number):
            at = text_of(entry.revocation_date_utc)
            raise CardChangedError(f"who signed this card was revoked at {at}", next_step=_ANOTHER)


def _list(data: bytes) -> x509.CertificateRevocationList:
    try:
        return x509.load_der_x509_crl(data)
    except ValueError as error:
        raise InvalidInputError(
            "this is no revocation list in DER",
            next_step="get one: keyvault ca crl AUTHORITY --out FILE",
        ) from error


def _counts(
    told: x509.CertificateRevocationList,
    signer: x509.Certificate,
    believed: Sequence[x509.Certificate],
    now: datetime,
) -> bool:
    """Whether it is by the authority that certified the signer, whom the caller believes."""
    until = told.next_update_utc
    by = [each for each in believed if each.subject == told.issuer == signer.issuer]
    signed = any(
        told.is_signature_valid(each.public_key())  # type: ignore[arg-type]  # it is of a CA
        for each in by
    )
    return signed and until is not None and told.last_update_utc <= now < until
