"""What a certificate of ours has to say, profile by profile, and how a key's record says it.

Nothing in a request is free text: the subject follows from the scope that the key was ordered for,
the usage from the key's one purpose. What the Code's interface design leaves to us, or what we
could not check against it, is marked in docs/certificates.md.
"""

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from hsm.types import Algorithm, KeyUsage
from keyvault.domain import der
from keyvault.domain.errors import CsrRefusedError
from keyvault.domain.scopes import Scope


class RemotePartyRole(IntEnum):
    """Roles of the parties that a device knows. The number travels as two hex digits in OU."""

    ROOT = 0
    RECOVERY = 1
    SUPPLIER = 2
    NETWORK_OPERATOR = 3
    ACCESS_CONTROL_BROKER = 4
    TRANSITIONAL_COS = 5
    WAN_PROVIDER = 6
    ISSUING_AUTHORITY = 7
    OTHER = 127

    @property
    def digits(self) -> str:
        return f"{self.value:02X}"


# The User Roles of the DCC User Interface, and the other roles by their own names.
USER_ROLES: dict[str, RemotePartyRole] = {
    **{role.name.lower().replace("_", "-"): role for role in RemotePartyRole},
    **dict.fromkeys(("IS", "GS"), RemotePartyRole.SUPPLIER),
    **dict.fromkeys(("ED", "GT"), RemotePartyRole.NETWORK_OPERATOR),
    **dict.fromkeys(("ES", "RSA", "OU"), RemotePartyRole.OTHER),
}


class Interface(StrEnum):
    """A service that an IKI client certificate opens. One certificate opens one."""

    AD_HOC_DEVICE_CSR = "ad-hoc-device-csr"
    BATCHED_DEVICE_CSR = "batched-device-csr"


class ProfileName(StrEnum):
    SMKI_ORGANISATION = "smki-organisation"
    IKI_CLIENT = "iki-client"


COMMON_NAME = bytes.fromhex("550403")
ORGANISATION = bytes.fromhex("55040a")
ORGANISATIONAL_UNIT = bytes.fromhex("55040b")
UNIQUE_IDENTIFIER = bytes.fromhex("55042d")
NAMES = {
    COMMON_NAME: "CN",
    ORGANISATION: "O",
    ORGANISATIONAL_UNIT: "OU",
    UNIQUE_IDENTIFIER: "uniqueIdentifier",
}


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of certificate. `signature` is the whole AlgorithmIdentifier, in DER."""

    name: ProfileName
    algorithm: Algorithm
    signature: bytes
    signature_name: str
    usages: frozenset[KeyUsage]
    subject: tuple[bytes, ...]  # attribute types, in this order, each once


ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
ECDSA_SHA384 = bytes.fromhex("300a06082a8648ce3d040303")
RSA_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")
PROFILES: dict[ProfileName, Profile] = {
    ProfileName.SMKI_ORGANISATION: Profile(
        ProfileName.SMKI_ORGANISATION,
        Algorithm.EC_P256,
        ECDSA_SHA256,
        "ecdsa-with-SHA256",
        frozenset({KeyUsage.SIGN, KeyUsage.AGREE}),
        (ORGANISATION, ORGANISATIONAL_UNIT, UNIQUE_IDENTIFIER),
    ),
    ProfileName.IKI_CLIENT: Profile(
        ProfileName.IKI_CLIENT,
        Algorithm.RSA_2048,
        RSA_SHA256,
        "sha256WithRSAEncryption",
        frozenset({KeyUsage.SIGN}),
        (ORGANISATION, ORGANISATIONAL_UNIT, COMMON_NAME),
    ),
}
# Bit string and bit number in KeyUsage (RFC 5280, 4.2.1.3) of each purpose.
USAGE_BITS: dict[KeyUsage, bytes] = {
    KeyUsage.SIGN: bytes.fromhex("03020780"),
    KeyUsage.AGREE: bytes.fromhex("03020308"),
}

_EUI = re.compile(r"(?:[0-9A-Fa-f]{2}-){7}[0-9A-Fa-f]{2}|[0-9A-Fa-f]{16}")
SYSTEM_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request is made from, besides the key itself."""

    profile: Profile
    scope: Scope
    usage: KeyUsage
    interface: str = ""  # of IKI client certificates
    system: str = ""

    def subject(self) -> bytes:
        """Write the subject's Name in DER. Raises `CsrRefusedError`."""
        return der.encode(
            der.SEQUENCE, *(_relative(kind, self._value(kind)) for kind in self.profile.subject)
        )

    def _value(self, kind: bytes) -> bytes:
        if kind == UNIQUE_IDENTIFIER:
            return der.bits(eui64(self.scope.user_id))
        return der.encode(der.UTF8_STRING, self._text(kind).encode())

    def _text(self, kind: bytes) -> str:
        if kind == ORGANISATION:
            return self.scope.party
        if kind == COMMON_NAME:
            return system_name(self.system)
        if self.profile.name is ProfileName.IKI_CLIENT:
            return str(interface_of(self.interface))
        return role_of(self.scope).digits


def _relative(kind: bytes, value: bytes) -> bytes:
    return der.encode(der.SET, der.encode(der.SEQUENCE, der.encode(der.OID, kind), value))


def eui64(user_id: str) -> bytes:
    """Read a User ID as the 8 bytes of an EUI-64. Raises `CsrRefusedError`."""
    if not _EUI.fullmatch(user_id):
        raise CsrRefusedError(
            f"csr-eui: the User ID {user_id} of the key's scope is no EUI-64",
            next_step="an EUI-64 is written 90-B3-D5-1F-30-01-00-00 or 90B3D51F30010000",
        )
    return bytes.fromhex(user_id.replace("-", ""))


def role_of(scope: Scope) -> RemotePartyRole:
    """Return the Remote Party Role of a scope's User Role. Raises `CsrRefusedError`."""
    role = USER_ROLES.get(scope.user_role)
    if role is None:
        raise CsrRefusedError(
            f"csr-role-unknown: no Remote Party Role belongs to the User Role {scope.user_role}",
            next_step=f"a scope for certificates has one of: {', '.join(sorted(USER_ROLES))}",
        )
    return role


def interface_of(text: str) -> Interface:
    """Raises `CsrRefusedError`."""
    try:
        return Interface(text)
    except ValueError as error:
        raise CsrRefusedError(
            f"csr-interface: {text[:40]!r} is no interface that such a certificate opens",
            next_step=f"choose one of: {', '.join(Interface)}",
        ) from error


def system_name(text: str) -> str:
    """Raises `CsrRefusedError`."""
    if not SYSTEM_NAME.fullmatch(text):
        raise CsrRefusedError(
            f"csr-system-name: {text[:80]!r} is no name of a system",
            next_step="it has 1 to 64 letters, digits, dots and hyphens",
        )
    return text


def fitting(algorithm: Algorithm, usage: KeyUsage) -> Profile | None:
    """Return the profile that keys of this kind and purpose are certified under."""
    for profile in PROFILES.values():
        if profile.algorithm is algorithm and usage in profile.usages:
            return profile
    return None
