"""A card maker's word that a key was made on the card: who signed it, for which card, and when.

A statement is a certificate over the new key, signed by the card's own attestation key; whom that
one is from, its maker certified when the card was made.
"""

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm.errors import TokenSpoiledError

CARD_SERIAL = x509.ObjectIdentifier("1.3.6.1.4.1.41482.3.7")  # Yubico's: an INTEGER in DER
_UNREADABLE = (ValueError, x509.InvalidVersion, UnsupportedAlgorithm, x509.DuplicateExtension)


def check(
    spki: bytes,
    serial: str,
    chain: Sequence[bytes],
    makers: Sequence[x509.Certificate],
    now: datetime,
) -> None:
    """Raise `TokenSpoiledError` unless `chain` attests this key of this card.

    `chain` is the statement and then, where the card has it, the certificate of its attestation
    key, all in DER. `makers` are those that are believed; without any, only the
    key, the serial number and the dates are compared. `serial` is empty where it is not known.
    """
    try:
        statement, *between = [x509.load_der_x509_certificate(each) for each in chain]
        made = statement.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        told = _serial(statement)
    except _UNREADABLE as error:
        raise TokenSpoiledError("the card's attestation cannot be read") from error
    if made != spki:
        raise TokenSpoiledError("the card attests another key than the one it just made")
    if told and serial and told != serial:
        raise TokenSpoiledError(f"the attestation is of card {told}, and this is {serial}")
    _check_dates([statement, *between], now)
    if makers and not _leads_to(statement, between, makers):
        raise TokenSpoiledError("no maker that we know signed the card's attestation")


def _check_dates(chain: Sequence[x509.Certificate], now: datetime) -> None:
    for each in chain:
        if not each.not_valid_before_utc <= now < each.not_valid_after_utc:
            raise TokenSpoiledError("the card's attestation, or its maker's word, is out of date")


def _leads_to(
    statement: x509.Certificate,
    between: Sequence[x509.Certificate],
    believed: Sequence[x509.Certificate],
) -> bool:
    """Whether a maker signed it, or signed the authority on the card that did."""
    current = statement
    for following in (*between, None):
        if any(_issued(current, maker) for maker in believed):
            return True
        if following is None or not (_issued(current, following) and _certifies(following)):
            return False
        current = following
    return False


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, *_UNREADABLE):
        return False
    return True


def _certifies(certificate: x509.Certificate) -> bool:
    """Only an authority's key attests: a statement of ours would else attest another key."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return False


def _serial(statement: x509.Certificate) -> str:
    found = [each.value for each in statement.extensions if each.oid == CARD_SERIAL]
    if not found:
        return ""
    der = found[0].public_bytes()
    if der[:1] != b"\x02" or len(der) < 3 or der[1] != len(der) - 2:  # noqa: PLR2004  (a short INTEGER)
        raise ValueError("the serial number is no INTEGER")
    return str(int.from_bytes(der[2:], "big"))
