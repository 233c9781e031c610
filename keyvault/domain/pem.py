"""Text forms of DER: with and without the header of RFC 7468, in lines of 64 or 76 characters."""

import re
from base64 import b64decode, b64encode

from keyvault.domain.errors import InvalidInputError

COLUMNS = (64, 76)  # RFC 7468, and RFC 2045 as web services want it
REQUEST, CERTIFICATE = "CERTIFICATE REQUEST", "CERTIFICATE"
_LABELS = {REQUEST: (REQUEST, "NEW CERTIFICATE REQUEST"), CERTIFICATE: (CERTIFICATE,)}
TEXT_LIMIT = 65_536  # bytes of one file before anything reads it
_ARMOUR = re.compile(
    rb"-----BEGIN ([A-Z ]{1,40})-----\n(.*)\n-----END ([A-Z ]{1,40})-----", re.DOTALL
)
_LINE = re.compile(rb"[A-Za-z0-9+/]*={0,2}")


def armour(der: bytes, label: str, *, columns: int = 64, header: bool = True) -> bytes:
    """Write DER as text. The last line is the only shorter one, and ends like every other."""
    text = b64encode(der).decode()
    lines = [text[at : at + columns] for at in range(0, len(text), columns)]
    if header:
        lines = [f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"]
    return ("\n".join(lines) + "\n").encode()


def der_of(data: bytes, label: str) -> bytes:
    """Read one DER structure from a file: DER itself, PEM, or base64 without a header.

    Raises `InvalidInputError`. What the DER says is not looked at.
    """
    if len(data) > TEXT_LIMIT:
        raise InvalidInputError(f"a file of one {label.lower()} has at most {TEXT_LIMIT} bytes")
    if data[:1] == b"\x30":
        # Also base64 may begin with the letter 0, but never in a SEQUENCE, which begins with M.
        return data
    body = data.replace(b"\r\n", b"\n").strip(b"\n")
    if body.startswith(b"-----"):
        body = _inside(body, label)
    return _decoded(body.split(b"\n"), label)


def _inside(body: bytes, label: str) -> bytes:
    match = _ARMOUR.fullmatch(body)
    if match is None or match[1] != match[3] or match[1].decode() not in _LABELS[label]:
        raise _not_one(label, f"between BEGIN {label} and END {label}")
    return match[2]


def _decoded(lines: list[bytes], label: str) -> bytes:
    widths = {len(line) for line in lines[:-1]}
    straight = len(widths) <= 1 and all(map(_LINE.fullmatch, lines))
    width = max(widths, default=0)
    if not straight or (widths and not 0 < len(lines[-1]) <= width) or width > max(COLUMNS):
        raise _not_one(label, f"in straight lines of at most {max(COLUMNS)} characters")
    text = b"".join(lines)
    try:
        der = b64decode(text, validate=True)
    except ValueError as error:
        raise _not_one(label, "in base64") from error
    if not der or b64encode(der) != text:
        raise _not_one(label, "in canonical base64")
    return der


def _not_one(label: str, where: str) -> InvalidInputError:
    return InvalidInputError(
        f"the file does not hold one {label.lower()} {where}",
        next_step="give DER, PEM, or base64 without a header, and nothing around it",
    )
