"""DER (X.690, 10): what certificates and their requests are written in, read strictly.

One level is read at a time, by callers who know the structure: nothing recurses, so depth is what
the caller's own code has. Whatever has a second spelling, or more bytes than it needs, is refused.
"""

from typing import NamedTuple

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
UTF8_STRING, PRINTABLE_STRING = 0x0C, 0x13
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
SEQUENCE, SET = 0x30, 0x31
CONTEXT = 0xA0  # constructed, and the number added
COUNT_LIMIT = 64  # values side by side: no name, list of extensions or of attributes is longer
LENGTH_SIZE_LIMIT = 3  # bytes behind the first

_HIGH_TAG = 0x1F
_LONG = 0x80


class DerError(ValueError):
    """The bytes are not DER, or not what stands in their place by the standard."""


class Value(NamedTuple):
    """One value: its tag, its content, and all of its bytes."""

    tag: int
    content: bytes
    raw: bytes


def encode(tag: int, *contents: bytes) -> bytes:
    """Write one value around its contents."""
    content = b"".join(contents)
    size = len(content)
    if size < _LONG:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, _LONG | len(length))) + length + content


def integer(number: int) -> bytes:
    """Write a whole number of zero or more."""
    return encode(INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def bits(content: bytes, unused: int = 0) -> bytes:
    """Write a BIT STRING; its last byte may have bits that do not count."""
    return encode(BIT_STRING, bytes((unused,)), content)


def values(data: bytes) -> list[Value]:
    """Read values side by side until the last byte. Raises `DerError`."""
    found: list[Value] = []
    at = 0
    while at < len(data):
        if len(found) == COUNT_LIMIT:
            raise DerError(f"more than {COUNT_LIMIT} values side by side")
        value, at = _value(data, at)
        found.append(value)
    return found


def first(data: bytes) -> tuple[Value, bytes]:
    """Read one value and return it with the bytes that follow it. Raises `DerError`."""
    value, end = _value(data, 0)
    return value, data[end:]


def only(data: bytes, tag: int) -> bytes:
    """Return the content of the one value that `data` is. Raises `DerError`."""
    value, rest = first(data)
    if rest:
        raise DerError(f"{len(rest)} bytes after the end")
    return content_of(value, tag)


def content_of(value: Value, tag: int) -> bytes:
    """Return a value's content if it has this tag. Raises `DerError`."""
    if value.tag != tag:
        raise DerError(f"tag {tag:02X} was expected, not {value.tag:02X}")
    return value.content


def fields(content: bytes, *tags: int) -> list[bytes]:
    """Return the contents of values of exactly these tags. Raises `DerError`."""
    found = values(content)
    if [value.tag for value in found] != list(tags):
        raise DerError(f"{[f'{value.tag:02X}' for value in found][:8]} is not what stands here")
    return [value.content for value in found]


def number_of(content: bytes) -> int:
    """Read the content of an INTEGER, negative ones too. Raises `DerError`."""
    spare = content[:2]
    if not content or (
        len(spare) > 1 and spare[0] in (0x00, 0xFF) and spare[0] >> 7 == spare[1] >> 7
    ):
        raise DerError("a number that is empty or longer than it needs")
    return int.from_bytes(content, signed=True)


def bits_of(content: bytes) -> tuple[bytes, int]:
    """Read the content of a BIT STRING: its bytes, and how many bits of the last do not count."""
    if not content or content[0] > 7 or (content[0] and len(content) == 1):  # noqa: PLR2004  (a byte)
        raise DerError("a BIT STRING without its count of unused bits")
    unused, data = content[0], content[1:]
    if data and data[-1] & ((1 << unused) - 1):
        raise DerError("unused bits that are not zero")
    return data, unused


def truth_of(content: bytes) -> bool:
    """Read the content of a BOOLEAN. False is never written where it is the default."""
    if content != b"\xff":
        raise DerError("a BOOLEAN in DER is FF here, or left out")
    return True


def text_of(tag: int, content: bytes) -> str:
    """Read a UTF8String or PrintableString. Raises `DerError`."""
    try:
        text = content.decode("utf-8" if tag == UTF8_STRING else "ascii")
    except UnicodeDecodeError as error:
        raise DerError("a text in another alphabet than it says") from error
    if tag not in (UTF8_STRING, PRINTABLE_STRING) or not text.isprintable():
        raise DerError("a printable UTF8String or PrintableString was expected")
    return text


def oid_of(content: bytes) -> str:
    """Write the content of an OBJECT IDENTIFIER with dots, for messages."""
    numbers, number = [], 0
    for byte in content[:40]:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    head = numbers[:1]
    root = min(head[0] // 40, 2) if head else 0
    return ".".join(map(str, [root, *(n - 40 * root for n in head), *numbers[1:]]))


def _value(data: bytes, at: int) -> tuple[Value, int]:
    if len(data) - at < 2:  # noqa: PLR2004  (a tag and a length)
        raise DerError("a value that is cut off")
    tag, length, start = data[at], data[at + 1], at + 2
    if tag & _HIGH_TAG == _HIGH_TAG or not tag:
        raise DerError(f"no value here begins with {tag:02X}")
    if length >= _LONG:
        length, start = _long_length(data, start, length & ~_LONG)
    if length > len(data) - start:
        raise DerError(f"a value of {length} bytes where {len(data) - start} are left")
    end = start + length
    return Value(tag, data[start:end], data[at:end]), end


def _long_length(data: bytes, start: int, size: int) -> tuple[int, int]:
    if not 1 <= size <= LENGTH_SIZE_LIMIT or size > len(data) - start:
        raise DerError("a length that is indefinite, cut off or too long")
    length = int.from_bytes(data[start : start + size])
    if length < _LONG or length >> 8 * (size - 1) == 0:
        raise DerError("a length that is longer than it needs")
    return length, start + size
