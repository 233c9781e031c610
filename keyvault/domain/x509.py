"""X.509 as far as this service has to understand it: names, keys, extensions, certificates.

RFC 5280, read strictly and only so deep: what a field holds is judged by `csr` and `certificates`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from hsm.types import Algorithm
from keyvault.domain import der
from keyvault.domain.der import DerError
from keyvault.domain.errors import CertificateUnreadableError
from keyvault.domain.profiles import NAMES

CERTIFICATE_LIMIT = 16_384  # bytes
KEY_USAGE, BASIC_CONSTRAINTS = bytes.fromhex("551d0f"), bytes.fromhex("551d13")
_EC, _P256 = bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d030107")
_RSA = bytes.fromhex("2a864886f70d010101")
# SEC 2: the field of P-256 and the constant of its curve y² = x³ - 3x + b.
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_POINT_SIZE, _COORDINATE = 65, 32  # bytes
_UNCOMPRESSED = 0x04
_RSA_BITS, _RSA_EXPONENT = 2048, 65_537


class Attribute(NamedTuple):
    """One attribute of a name."""

    kind: bytes
    tag: int
    content: bytes

    @property
    def text(self) -> str:
        """What people read and compare: an EUI-64 by its bytes, a text as it stands."""
        if self.tag == der.BIT_STRING and self.content[:1] == b"\0":
            return "-".join(f"{byte:02X}" for byte in self.content[1:])
        return der.text_of(self.tag, self.content)


class Extension(NamedTuple):
    kind: bytes
    critical: bool
    value: bytes


class KeyFault(NamedTuple):
    """Why a public key is not one that is certified here: `code` ends that of the violation."""

    code: str
    detail: str


def attributes_of(name: bytes) -> tuple[Attribute, ...]:
    """Read a Name whose relative names have one attribute each. Raises `DerError`."""
    found = []
    for relative in der.values(der.only(name, der.SEQUENCE)):
        [pair] = _alone(der.content_of(relative, der.SET))
        kind, value = _two(der.content_of(pair, der.SEQUENCE))
        found.append(Attribute(der.content_of(kind, der.OID), value.tag, value.content))
    return tuple(found)


def _alone(content: bytes) -> list[der.Value]:
    found = der.values(content)
    if len(found) != 1:
        raise DerError("a relative name has exactly one attribute here")
    return found


def _two(content: bytes) -> list[der.Value]:
    found = der.values(content)
    if len(found) != 2:  # noqa: PLR2004  (type and value)
        raise DerError("an attribute is a type and a value")
    return found


def name_text(name: bytes) -> str:
    """Write a name for people, whatever is in it: what cannot be read is shown in hex."""
    try:
        return ", ".join(map(_attribute_text, attributes_of(name))) or "(empty)"
    except DerError:
        return name.hex()[:200]


def _attribute_text(attribute: Attribute) -> str:
    name = NAMES.get(attribute.kind) or der.oid_of(attribute.kind)
    try:
        return f"{name}={attribute.text}"
    except DerError:
        return f"{name}=#{attribute.content.hex()[:64]}"


def extensions_of(content: bytes) -> tuple[Extension, ...]:
    """Read the values of an Extensions sequence. Raises `DerError`."""
    found = []
    for each in der.values(content):
        parts = der.values(der.content_of(each, der.SEQUENCE))
        critical = len(parts) == 3 and der.truth_of(der.content_of(parts[1], der.BOOLEAN))  # noqa: PLR2004  (with its middle)
        if len(parts) != 2 + critical:
            raise DerError("an extension is a type, perhaps critical, and a value")
        kind, value = der.content_of(parts[0], der.OID), parts[-1]
        found.append(Extension(kind, critical, der.content_of(value, der.OCTET_STRING)))
    return tuple(found)


def usages_of(extension: bytes) -> frozenset[int]:
    """Read the bits of a KeyUsage by their numbers (RFC 5280, 4.2.1.3). Raises `DerError`."""
    data, unused = der.bits_of(der.only(extension, der.BIT_STRING))
    if data and not data[-1] >> unused & 1:
        raise DerError("a KeyUsage ends with its last bit that is set")
    return frozenset(_bits(data))


def usage_of(bits: frozenset[int]) -> bytes:
    """Write a KeyUsage of bits below 8, in DER: what `usages_of` reads."""
    value = sum(1 << 7 - bit for bit in bits)
    return der.bits(bytes((value,)), 7 - max(bits))


def _bits(data: bytes) -> Iterator[int]:
    for at in range(8 * len(data)):
        if data[at // 8] >> 7 - at % 8 & 1:
            yield at


def is_curved(spki: bytes) -> bool:
    """Whether a SubjectPublicKeyInfo is of an elliptic curve. Raises `DerError`."""
    algorithm, _ = der.values(der.only(spki, der.SEQUENCE))
    return der.values(algorithm.content)[0].content == _EC


def key_fault(spki: bytes, wanted: Algorithm) -> KeyFault | None:
    """Say what is wrong with a SubjectPublicKeyInfo, or nothing. Raises `DerError`.

    `wanted` is EC-P256 (uncompressed, on the curve) or RSA-2048 (exponent 65537).
    """
    algorithm, key = der.fields(der.only(spki, der.SEQUENCE), der.SEQUENCE, der.BIT_STRING)
    parts = der.values(algorithm)
    kind = der.content_of(parts[0], der.OID) if parts else b""
    data, unused = der.bits_of(key)
    if unused:
        raise DerError("a key of whole bytes was expected")
    is_ec = wanted is Algorithm.EC_P256
    if kind != (_EC if is_ec else _RSA):
        return KeyFault("key-algorithm", f"the key is one of {der.oid_of(kind)}, not {wanted}")
    if is_ec:
        return _curve_fault(parts[1:]) or _point_fault(data)
    return _rsa_fault(parts[1:], data)


def _curve_fault(parameters: list[der.Value]) -> KeyFault | None:
    if len(parameters) != 1 or parameters[0].tag != der.OID:
        return KeyFault("curve", "the curve is not named but described, or missing")
    if parameters[0].content != _P256:
        return KeyFault("curve", f"the curve is {der.oid_of(parameters[0].content)}, not P-256")
    return None


def _point_fault(point: bytes) -> KeyFault | None:
    if len(point) != _POINT_SIZE or point[0] != _UNCOMPRESSED:
        return KeyFault("point", f"an uncompressed point has {_POINT_SIZE} bytes after 04")
    x, y = (int.from_bytes(part) for part in (point[1 : 1 + _COORDINATE], point[-_COORDINATE:]))
    if x >= _P or y >= _P or (y * y - (x * x * x - 3 * x + _B)) % _P:
        return KeyFault("point", "the point is not on the curve")
    return None


def _rsa_fault(parameters: list[der.Value], key: bytes) -> KeyFault | None:
    if [(value.tag, value.content) for value in parameters] != [(der.NULL, b"")]:
        return KeyFault("key-algorithm", "the parameters of an RSA key are NULL")
    modulus, exponent = der.fields(der.only(key, der.SEQUENCE), der.INTEGER, der.INTEGER)
    bits = der.number_of(modulus).bit_length()
    if der.number_of(modulus) <= 0 or bits != _RSA_BITS:
        return KeyFault("key-size", f"the modulus has {bits} bits, not {_RSA_BITS}")
    if der.number_of(exponent) != _RSA_EXPONENT:
        return KeyFault("key-size", f"the exponent is not {_RSA_EXPONENT}")
    return None


@dataclass(frozen=True, slots=True)
class X509:
    """A certificate's fields. Names, key and algorithm are DER as they stand in it."""

    data: bytes
    signed: bytes  # what the issuer signed
    version: int  # 3 is written 2
    serial: int
    issuer: bytes
    subject: bytes
    not_before: datetime
    not_after: datetime
    spki: bytes
    extensions: tuple[Extension, ...]
    signature_algorithm: bytes
    signature: bytes

    def extension(self, kind: bytes) -> Extension | None:
        return next((each for each in self.extensions if each.kind == kind), None)

    @property
    def is_ca(self) -> bool:
        """Whether it says that it may issue certificates."""
        found = self.extension(BASIC_CONSTRAINTS)
        return found is not None and der.only(found.value, der.SEQUENCE)[:3] == b"\x01\x01\xff"


def read_certificate(data: bytes) -> X509:
    """Read a certificate in DER. Raises `CertificateUnreadableError`."""
    if len(data) > CERTIFICATE_LIMIT:
        raise CertificateUnreadableError(
            f"a certificate has at most {CERTIFICATE_LIMIT} bytes, not {len(data)}"
        )
    try:
        return _read(data)
    except DerError as error:
        raise CertificateUnreadableError(
            f"not an X.509 certificate in DER: {error}",
            next_step="ask for the file again; nothing was changed",
        ) from error


def _read(data: bytes) -> X509:
    parts = der.values(der.only(data, der.SEQUENCE))
    if [part.tag for part in parts] != [der.SEQUENCE, der.SEQUENCE, der.BIT_STRING]:
        raise DerError("a certificate is what is signed, an algorithm and a signature")
    signature, unused = der.bits_of(parts[2].content)
    body, tail = der.values(parts[0].content), der.CONTEXT + 3
    tags = [der.INTEGER, *(der.SEQUENCE,) * 5]
    version = 0
    if body and body[0].tag == der.CONTEXT:
        version = der.number_of(der.only(body.pop(0).content, der.INTEGER))
    if [part.tag for part in body[:6]] != tags or body[1].raw != parts[1].raw or unused:
        raise DerError("the fields of the certificate are not those of RFC 5280")
    not_before, not_after = map(_time, _two(body[3].content))
    extensions = [part for part in body[6:] if part.tag == tail]
    inner = der.only(extensions[0].content, der.SEQUENCE) if extensions else b""
    made = X509(
        data, parts[0].raw, version, der.number_of(body[0].content), body[2].raw, body[4].raw,
        not_before, not_after, body[5].raw, _each_once(extensions_of(inner)), parts[1].raw,
        signature,
    )  # fmt: skip
    _ = made.is_ca  # refused here, if it cannot be read
    return made


def _each_once(extensions: tuple[Extension, ...]) -> tuple[Extension, ...]:
    if len({each.kind for each in extensions}) != len(extensions):
        raise DerError("an extension stands twice")
    return extensions


def _time(value: der.Value) -> datetime:
    text = value.content.decode("ascii", errors="replace")
    if value.tag == der.UTC_TIME and len(text) == 13:  # noqa: PLR2004  (YYMMDDHHMMSSZ)
        text = ("19" if text >= "50" else "20") + text
    elif value.tag != der.GENERALIZED_TIME:
        raise DerError("a time that is none of X.509")
    try:
        moment = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise DerError("a time that is none of X.509") from error
    if len(text) != 15:  # noqa: PLR2004  (strptime takes fewer digits, too)
        raise DerError("a time that is none of X.509")
    return moment
