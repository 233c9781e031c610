"""What the certificates of our own CA say, profile by profile, and for which slot of a token.

RFC 5280. The subject is never typed: it is who was nominated and vetted, or what a registrar
signed. What is signed is judged by these rules before the HSM signs it, and after.
"""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from keyvault.domain import x509
from keyvault.domain.canonical import canonical
from keyvault.domain.der import DerError
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.x509 import X509

POSSESSION = "keyvault-token-possession-v1"
SERIAL_SIZE = 16  # bytes of the HSM's random numbers
CA_DAYS = 7_305  # 20 years


class LeafProfile(StrEnum):
    TOKEN_AUTHENTICATION = "token-authentication"  # noqa: S105  (a profile, not a secret)
    TOKEN_SIGNING = "token-signing"  # noqa: S105  (a profile, not a secret)
    TOKEN_AGREEMENT = "token-agreement"  # noqa: S105  (a profile, not a secret)
    CLIENT = "client"
    SERVER = "server"
    CONTENT_SIGNING = "content-signing"


class Purpose(StrEnum):
    """Extended key usages by their OIDs (RFC 5280, 4.2.1.12)."""

    SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
    CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
    CONTENT_SIGNING = "2.16.840.1.101.3.6.7"  # id-PIV-content-signing (FIPS 201-3, annex B)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One kind of certificate. `usages` are bit numbers of KeyUsage (RFC 5280, 4.2.1.3)."""

    usages: frozenset[int]
    purpose: Purpose | None
    days: int
    critical: bool = False  # the extended usage: whoever does not know it refuses


DIGITAL_SIGNATURE, NON_REPUDIATION, KEY_AGREEMENT, CERT_SIGN, CRL_SIGN = 0, 1, 4, 5, 6
_P = LeafProfile
LEAVES: dict[LeafProfile, Leaf] = {
    _P.TOKEN_AUTHENTICATION: Leaf(frozenset({DIGITAL_SIGNATURE}), Purpose.CLIENT_AUTH, 1_095),
    # No extended usage: whoever checks signatures of files asks for the usage bits alone.
    _P.TOKEN_SIGNING: Leaf(frozenset({DIGITAL_SIGNATURE, NON_REPUDIATION}), None, 1_095),
    _P.TOKEN_AGREEMENT: Leaf(frozenset({KEY_AGREEMENT}), None, 1_095),
    _P.CLIENT: Leaf(frozenset({DIGITAL_SIGNATURE}), Purpose.CLIENT_AUTH, 730),
    _P.SERVER: Leaf(frozenset({DIGITAL_SIGNATURE}), Purpose.SERVER_AUTH, 397),
    # It has to be valid for as long as the cards that it signed.
    _P.CONTENT_SIGNING: Leaf(
        frozenset({DIGITAL_SIGNATURE}), Purpose.CONTENT_SIGNING, 3_285, critical=True
    ),
}
# Slots of SP 800-73-4, which a PKCS#11 token names alike.
SLOTS: dict[str, LeafProfile] = {
    "9A": _P.TOKEN_AUTHENTICATION,
    "9C": _P.TOKEN_SIGNING,
    "9D": _P.TOKEN_AGREEMENT,
}


def profile_of(slot: str) -> LeafProfile:
    """The profile of a slot's certificate. Raises `InvalidInputError`."""
    try:
        return SLOTS[slot]
    except KeyError as error:
        raise InvalidInputError(
            f"no certificate of ours is for slot {slot[:8]!r}",
            next_step=f"choose one of: {', '.join(SLOTS)}",
        ) from error


def possession(job: str, slot: str, spki: bytes) -> bytes:
    """What a token signs to show that it has a key: nothing else means this."""
    digest = sha256(spki).hexdigest()
    return canonical({"type": POSSESSION, "job": job, "slot": slot, "spki_sha256": digest})


def agreed(z: bytes, message: bytes) -> bytes:
    """What shows that a token has a key to agree with, which cannot sign: a MAC under Z.

    Z comes of a key that the gate made for this very message (as RFC 6955 has it).
    """
    return hmac.digest(z, message, "sha256")


# Judging -------------------------------------------------------------------------------------


def lint_leaf(certificate: X509, profile: LeafProfile, issuer: X509) -> list[str]:
    """Everything that is wrong with a certificate of ours, in words; empty if nothing is."""
    leaf = LEAVES[profile]
    found = [*_common(certificate, issuer)]
    if certificate.is_ca:
        found.append("it would be an authority")
    found += _usage(certificate, leaf.usages)
    if (certificate.not_after - certificate.not_before).days > leaf.days:
        found.append(f"it lasts longer than {leaf.days} days")
    return found


def lint_ca(certificate: X509, issuer: X509) -> list[str]:
    """The same for the certificate of an authority; one that signs itself is its own issuer."""
    found = [*_common(certificate, issuer)]
    if not certificate.is_ca:
        found.append("it is no authority")
    found += _usage(certificate, frozenset({CERT_SIGN, CRL_SIGN}))
    return found


def _common(certificate: X509, issuer: X509) -> Iterator[str]:
    if certificate.version != 2:  # noqa: PLR2004  (v3 by its number)
        yield "it is not of version 3"
    if not 0 < certificate.serial < 1 << (8 * SERIAL_SIZE):
        yield "its serial is no positive number of the right size"
    if certificate.issuer != issuer.subject:
        yield "its issuer is named otherwise"
    if certificate.not_before < issuer.not_before or certificate.not_after > issuer.not_after:
        yield "it does not lie within the life of its issuer"
    if certificate.not_before >= certificate.not_after:
        yield "it ends before it begins"


def _usage(certificate: X509, wanted: frozenset[int]) -> Iterator[str]:
    usages = [each for each in certificate.extensions if each.kind == x509.KEY_USAGE]
    try:
        bits = x509.usages_of(usages[0].value) if usages else frozenset()
    except DerError as error:
        yield f"its key usage cannot be read: {error}"
        return
    if bits != wanted or not usages[0].critical:
        yield "its key usage is not the profile's, or not critical"


def serial_text(number: int) -> str:
    """A serial as it is kept and shown: hex of whole bytes."""
    return number.to_bytes((number.bit_length() + 7) // 8).hex()
