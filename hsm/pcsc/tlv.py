"""BER-TLV as cards use it (ISO/IEC 7816-4, 5.2.2), read strictly: a card is hostile input.

One level is read at a time, by callers who know the template: nothing recurses, so depth is
what the caller's own code has, and a certificate is never mistaken for a template.
"""

from typing import NamedTuple

from hsm.errors import CardDataError

COUNT_LIMIT = 64  # data objects in one template; PIV's largest has under twenty
TAG_SIZE_LIMIT = 3  # bytes, as 5FC102
LENGTH_SIZE_LIMIT = 3  # bytes behind the first: 16 MiB, more than any response may have

MORE_TAG_BYTES = 0x1F  # in the first byte
CONTINUES = 0x80  # in a following byte of a tag, and the long form of a length
SHORT_LENGTH = 0x7F


class Tlv(NamedTuple):
    tag: int  # its bytes read as one number, so that 0x5FC102 looks as in the standard
    value: bytes


def encode(tag: int, value: bytes = b"") -> bytes:
    """Write one data object with the shortest length."""
    return tag_bytes(tag) + _length_bytes(len(value)) + value


def tag_bytes(tag: int) -> bytes:
    return tag.to_bytes((tag.bit_length() + 7) // 8, "big")


def parse(data: bytes) -> list[Tlv]:
    """Read data objects side by side until the last byte. Raises `CardDataError`.

    Refused: an indefinite length, one beyond the data, tags of 00 and FF, more than 64 objects.
    """
    objects: list[Tlv] = []
    offset = 0
    while offset < len(data):
        if len(objects) == COUNT_LIMIT:
            raise CardDataError(f"a template with more than {COUNT_LIMIT} data objects")
        tag, offset = _read_tag(data, offset)
        length, offset = _read_length(data, offset)
        if length > len(data) - offset:
            raise CardDataError(
                f"data object {tag:X} claims {length} bytes where {len(data) - offset} are left"
            )
        objects.append(Tlv(tag, data[offset : offset + length]))
        offset += length
    return objects


def template(data: bytes) -> dict[int, bytes]:
    """Read data objects that may stand there once each, as a table by tag."""
    objects = parse(data)
    table = dict(objects)
    if len(table) != len(objects):
        raise CardDataError("a data object stands twice in one template")
    return table


def unwrap(tag: int, data: bytes) -> bytes:
    """Return the value of the one data object that `data` is. Raises `CardDataError`."""
    objects = parse(data)
    if len(objects) != 1 or objects[0].tag != tag:
        found = ", ".join(f"{item.tag:X}" for item in objects[:4]) or "nothing"
        raise CardDataError(f"expected one data object {tag:X}, found {found}")
    return objects[0].value


def _read_tag(data: bytes, offset: int) -> tuple[int, int]:
    first = data[offset]
    if first in (0x00, 0xFF):
        raise CardDataError(f"no tag begins with {first:02X}")
    end = offset + 1
    if first & MORE_TAG_BYTES == MORE_TAG_BYTES:
        while end < len(data) and data[end] & CONTINUES:
            end += 1
        end += 1
    if end > len(data) or end - offset > TAG_SIZE_LIMIT:
        raise CardDataError("a tag that is cut off or too long")
    return int.from_bytes(data[offset:end], "big"), end


def _read_length(data: bytes, offset: int) -> tuple[int, int]:
    if offset >= len(data):
        raise CardDataError("a data object without a length")
    first = data[offset]
    if first <= SHORT_LENGTH:
        return first, offset + 1
    end = offset + 1 + (first & SHORT_LENGTH)
    if not 1 <= first & SHORT_LENGTH <= LENGTH_SIZE_LIMIT or end > len(data):
        raise CardDataError("a length that is indefinite, cut off or too long")
    return int.from_bytes(data[offset + 1 : end], "big"), end


def _length_bytes(length: int) -> bytes:
    if length <= SHORT_LENGTH:
        return bytes((length,))
    size = (length.bit_length() + 7) // 8
    return bytes((CONTINUES | size,)) + length.to_bytes(size, "big")
