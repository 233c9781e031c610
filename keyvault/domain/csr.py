"""Certification requests (PKCS#10, RFC 2986): built from a key's record, and judged, also others'.

A request of ours is built and then judged by the same rules as one that comes from outside.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from hsm.types import Algorithm, KeyUsage
from keyvault.domain import der, profiles, x509
from keyvault.domain.der import DerError
from keyvault.domain.errors import CsrRefusedError
from keyvault.domain.profiles import PROFILES, Profile, ProfileName, Terms

CSR_LIMIT = 4_096  # bytes; one of RSA-2048 has some 700
_EXTENSION_REQUEST = bytes.fromhex("2a864886f70d01090e")

Verify = Callable[[bytes, bytes, bytes, bytes], bool]
"""(SPKI, AlgorithmIdentifier, message, signature) → whether it is good."""


class Fault(StrEnum):
    """What can be wrong with a request, each by a code of its own."""

    OVERSIZED = "csr-oversized"
    ENCODING = "csr-encoding"  # not DER, or not the structure of PKCS#10
    TRAILING_BYTES = "csr-trailing-bytes"
    VERSION = "csr-version"
    KEY = "csr-key"  # cannot be read
    KEY_ALGORITHM = "csr-key-algorithm"
    KEY_SIZE = "csr-key-size"
    CURVE = "csr-curve"
    POINT = "csr-point"
    HASH = "csr-hash"  # another signature algorithm than the profile's
    SIGNATURE = "csr-signature"  # does not prove possession of the key
    ATTRIBUTES = "csr-attributes"
    EXTENSION = "csr-extension"  # another one than key usage
    USAGE_MISSING = "csr-usage-missing"
    USAGE_SEVERAL = "csr-usage-several"
    USAGE_WRONG = "csr-usage-wrong"
    USAGE_NOT_CRITICAL = "csr-usage-not-critical"
    SUBJECT = "csr-subject"
    ROLE = "csr-role"
    ROLE_UNKNOWN = "csr-role-unknown"
    EUI = "csr-eui"
    INTERFACE = "csr-interface"
    SYSTEM_NAME = "csr-system-name"


class Violation(NamedTuple):
    """One thing that is wrong. `detail` is for people, and quotes no more than a name."""

    code: Fault
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Csr:
    """A request taken apart. Everything is DER as it stands in it."""

    data: bytes
    info: bytes  # what the requester signed
    version: int
    subject: bytes
    spki: bytes
    attributes: bytes
    signature_algorithm: bytes
    signature: bytes

    def extensions(self) -> tuple[x509.Extension, ...]:
        """Read the extensions that are asked for. Raises `DerError`."""
        [attribute] = _one(der.values(self.attributes), "one attribute, the extension request")
        kind, value = der.fields(der.content_of(attribute, der.SEQUENCE), der.OID, der.SET)
        if kind != _EXTENSION_REQUEST:
            raise DerError(f"the attribute {der.oid_of(kind)} is not the extension request")
        return x509.extensions_of(der.only(value, der.SEQUENCE))

    def usages(self) -> frozenset[int]:
        """Read the bits of the key usage asked for. Raises `DerError`."""
        [usage] = [each for each in self.extensions() if each.kind == x509.KEY_USAGE]
        return x509.usages_of(usage.value)


def _one(values: list[der.Value], what: str) -> list[der.Value]:
    if len(values) != 1:
        raise DerError(f"{what} was expected, not {len(values)} values")
    return values


# Building ------------------------------------------------------------------------------------


def info_of(terms: Terms, spki: bytes) -> bytes:
    """Write the CertificationRequestInfo that is to be signed. Raises `CsrRefusedError`."""
    if terms.usage not in terms.profile.usages:
        raise CsrRefusedError(
            f"csr-usage-wrong: the profile {terms.profile.name} has no keys to {terms.usage}",
            next_step="choose the profile that the key was made for",
        )
    return plain_info(terms.subject(), spki, profiles.USAGE_BITS[terms.usage])


def plain_info(subject: bytes, spki: bytes, usage: bytes) -> bytes:
    """The same of a subject and a KeyUsage, both in DER, that no profile here knows."""
    extension = der.encode(
        der.SEQUENCE,
        der.encode(der.OID, x509.KEY_USAGE),
        der.encode(der.BOOLEAN, b"\xff"),
        der.encode(der.OCTET_STRING, usage),
    )
    wanted = der.encode(der.SET, der.encode(der.SEQUENCE, extension))
    attribute = der.encode(der.SEQUENCE, der.encode(der.OID, _EXTENSION_REQUEST), wanted)
    return der.encode(
        der.SEQUENCE, der.integer(0), subject, spki, der.encode(der.CONTEXT, attribute)
    )


def plain_request(info: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """Put a signature, as X.509 has it, under what it signs. `algorithm` is in DER."""
    return der.encode(der.SEQUENCE, info, algorithm, der.bits(signature))


def request_of(info: bytes, profile: Profile, signature: bytes) -> bytes:
    """Put the signature under it. `signature` is raw r || s for an elliptic curve."""
    if profile.algorithm is Algorithm.EC_P256:
        half = len(signature) // 2
        r, s = (int.from_bytes(part) for part in (signature[:half], signature[half:]))
        signature = der.encode(der.SEQUENCE, der.integer(r), der.integer(s))
    return der.encode(der.SEQUENCE, info, profile.signature, der.bits(signature))


# Judging -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Report:
    """What came of judging one request. No violations: it is as it has to be."""

    csr: Csr | None
    profile: Profile
    violations: tuple[Violation, ...]

    def check(self) -> Csr:
        """Return the request, or raise `CsrRefusedError` with everything that is wrong."""
        if self.csr is None or self.violations:
            raise CsrRefusedError(
                "; ".join(map(str, self.violations)),
                next_step="see docs/certificates.md for each code",
            )
        return self.csr


def lint(data: bytes, verify: Verify | None, profile: Profile | None = None) -> Report:
    """Judge a request by a profile, or by the one that its kind of key belongs to.

    Without `verify` the proof of possession is not looked at.
    """
    guess = profile or PROFILES[ProfileName.SMKI_ORGANISATION]
    try:
        csr = read(data)
    except _StopError as stop:
        return Report(None, guess, (stop.violation,))
    chosen = profile or _profile_of(csr)
    violations = tuple(_violations(csr, chosen))
    if verify and not violations:
        violations = tuple(_proof(csr, verify))
    return Report(csr, chosen, violations)


class _StopError(Exception):
    def __init__(self, code: Fault, detail: str) -> None:
        super().__init__(detail)
        self.violation = Violation(code, detail)


def read(data: bytes) -> Csr:
    """Take a request apart without judging it."""
    if len(data) > CSR_LIMIT:
        raise _StopError(Fault.OVERSIZED, f"{len(data)} bytes, and {CSR_LIMIT} are allowed")
    try:
        whole, rest = der.first(data)
        if rest:
            raise _StopError(Fault.TRAILING_BYTES, f"{len(rest)} bytes follow the request")
        return _taken_apart(whole)
    except DerError as error:
        raise _StopError(Fault.ENCODING, str(error)) from error


def _taken_apart(whole: der.Value) -> Csr:
    parts = der.values(der.content_of(whole, der.SEQUENCE))
    if [part.tag for part in parts] != [der.SEQUENCE, der.SEQUENCE, der.BIT_STRING]:
        raise DerError("a request is what is signed, an algorithm and a signature")
    info = der.values(parts[0].content)
    tags = [der.INTEGER, der.SEQUENCE, der.SEQUENCE, der.CONTEXT]
    if [part.tag for part in info] != tags:
        raise DerError("what is signed is a version, a subject, a key and attributes")
    signature, unused = der.bits_of(parts[2].content)
    if unused:
        raise DerError("a signature of whole bytes was expected")
    return Csr(
        data=whole.raw,
        info=parts[0].raw,
        version=der.number_of(info[0].content),
        subject=info[1].raw,
        spki=info[2].raw,
        attributes=info[3].content,
        signature_algorithm=parts[1].raw,
        signature=signature,
    )


def _profile_of(csr: Csr) -> Profile:
    try:
        fault = x509.key_fault(csr.spki, Algorithm.RSA_2048)
    except DerError:
        fault = None
    is_rsa = fault is None or fault.code == "key-size"
    return PROFILES[ProfileName.IKI_CLIENT if is_rsa else ProfileName.SMKI_ORGANISATION]


Check = Callable[[Csr, Profile], Iterable[Violation]]


def _violations(csr: Csr, profile: Profile) -> Iterator[Violation]:
    for code, check in _CHECKS:
        try:
            yield from check(csr, profile)
        except DerError as error:
            yield Violation(code, str(error))


def _version(csr: Csr, _profile: Profile) -> Iterator[Violation]:
    if csr.version != 0:
        yield Violation(Fault.VERSION, f"the version is {csr.version}, not 0")


def _key(csr: Csr, profile: Profile) -> Iterator[Violation]:
    fault = x509.key_fault(csr.spki, profile.algorithm)
    if fault is not None:
        yield Violation(Fault(f"csr-{fault.code}"), fault.detail)


def _algorithm(csr: Csr, profile: Profile) -> Iterator[Violation]:
    if csr.signature_algorithm != profile.signature:
        yield Violation(Fault.HASH, f"it is not signed with {profile.signature_name}")


def _extensions(csr: Csr, profile: Profile) -> Iterator[Violation]:
    found = csr.extensions()
    others = [der.oid_of(each.kind) for each in found if each.kind != x509.KEY_USAGE]
    if others:
        yield Violation(Fault.EXTENSION, f"it asks for {', '.join(others)[:200]}")
    usages = [each for each in found if each.kind == x509.KEY_USAGE]
    if not usages:
        yield Violation(Fault.USAGE_MISSING, "it asks for no key usage")
    elif len(usages) > 1:
        yield Violation(Fault.USAGE_SEVERAL, "it asks for key usage twice")
    else:
        yield from _usage(usages[0], profile)


_BIT = {KeyUsage.SIGN: 0, KeyUsage.AGREE: 4}
_BIT_NAMES = (
    *("digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment"),
    *("keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"),
)


def usage_text(bits: Iterable[int]) -> str:
    """Name the bits of a key usage."""
    return ", ".join(_BIT_NAMES[bit] if bit < len(_BIT_NAMES) else str(bit) for bit in sorted(bits))


def _usage(usage: x509.Extension, profile: Profile) -> Iterator[Violation]:
    if not usage.critical:
        yield Violation(Fault.USAGE_NOT_CRITICAL, "the key usage is not marked as critical")
    bits = x509.usages_of(usage.value)
    if not bits:
        yield Violation(Fault.USAGE_MISSING, "the key usage names none")
    elif len(bits) > 1:
        yield Violation(Fault.USAGE_SEVERAL, f"one key usage, not {usage_text(bits)}")
    elif not bits <= {_BIT[each] for each in profile.usages}:
        yield Violation(Fault.USAGE_WRONG, f"{profile.name} is not for {usage_text(bits)}")


def _subject(csr: Csr, profile: Profile) -> Iterator[Violation]:
    found = x509.attributes_of(csr.subject)
    kinds = [each.kind for each in found]
    wanted = set(profile.subject)
    strange = [der.oid_of(kind) for kind in kinds if kind not in wanted]
    if strange or len(set(kinds)) != len(kinds):
        yield Violation(
            Fault.SUBJECT, f"strange or repeated: {', '.join(strange)[:200] or 'twice'}"
        )
    for kind in profile.subject:
        values = [each for each in found if each.kind == kind]
        if not values and kind != profiles.ORGANISATION:  # which a party may leave out
            name = profiles.NAMES[kind]
            yield Violation(_SUBJECT_FAULTS[profile.name][kind], f"{name} is missing")
        for value in values[:1]:
            yield from _part(value, profile)


_SUBJECT_FAULTS = {
    ProfileName.SMKI_ORGANISATION: {
        profiles.ORGANISATIONAL_UNIT: Fault.ROLE,
        profiles.UNIQUE_IDENTIFIER: Fault.EUI,
    },
    ProfileName.IKI_CLIENT: {
        profiles.ORGANISATIONAL_UNIT: Fault.INTERFACE,
        profiles.COMMON_NAME: Fault.SYSTEM_NAME,
    },
}


def _part(value: x509.Attribute, profile: Profile) -> Iterator[Violation]:
    if value.kind == profiles.UNIQUE_IDENTIFIER:
        yield from _eui(value)
        return
    text, organisation = value.text, profile.name is ProfileName.SMKI_ORGANISATION
    if value.kind == profiles.COMMON_NAME and not profiles.SYSTEM_NAME.fullmatch(text):
        yield Violation(Fault.SYSTEM_NAME, f"{text[:80]!r} is no name of a system")
    if value.kind == profiles.ORGANISATIONAL_UNIT:
        yield from _role(text) if organisation else _interface(text)


def _eui(value: x509.Attribute) -> Iterator[Violation]:
    try:
        data, unused = der.bits_of(der.content_of(der.Value(*value[1:], b""), der.BIT_STRING))
    except DerError as error:
        yield Violation(Fault.EUI, str(error))
        return
    if len(data) != 8 or unused:  # noqa: PLR2004  (64 bits)
        yield Violation(Fault.EUI, f"uniqueIdentifier has {8 * len(data) - unused} bits, not 64")


def _role(text: str) -> Iterator[Violation]:
    if len(text) != 2 or set(text) - set("0123456789ABCDEF"):  # noqa: PLR2004  (two digits)
        yield Violation(Fault.ROLE, f"OU is {text[:40]!r}, not a role as two hex digits")
    elif int(text, 16) not in set(profiles.RemotePartyRole):
        yield Violation(Fault.ROLE_UNKNOWN, f"no Remote Party Role has the number {text}")


def _interface(text: str) -> Iterator[Violation]:
    if text not in set(profiles.Interface):
        yield Violation(Fault.INTERFACE, f"OU is {text[:40]!r}, which is no interface")


def _proof(csr: Csr, verify: Verify) -> Iterator[Violation]:
    if not verify(csr.spki, csr.signature_algorithm, csr.info, csr.signature):
        yield Violation(Fault.SIGNATURE, "the signature does not prove possession of the key")


_CHECKS: tuple[tuple[Fault, Check], ...] = (
    (Fault.VERSION, _version),
    (Fault.KEY, _key),
    (Fault.HASH, _algorithm),
    (Fault.ATTRIBUTES, _extensions),
    (Fault.SUBJECT, _subject),
)
