"""The little of BER-TLV that the card itself needs; the product's reader is not used here."""


class Refused(Exception):  # noqa: N818  (a status word, not an accident)
    def __init__(self, sw: int) -> None:
        super().__init__(f"{sw:04X}")
        self.sw = sw


def tlv(tag: int, value: bytes = b"") -> bytes:
    size = len(value)
    head = tag.to_bytes((tag.bit_length() + 7) // 8, "big")
    if size < 0x80:
        return head + bytes((size,)) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return head + bytes((0x80 | len(length),)) + length + value


def fields(data: bytes) -> dict[int, bytes]:
    """One level, by tag."""
    found: dict[int, bytes] = {}
    try:
        while data:
            size = 1
            if data[0] & 0x1F == 0x1F:
                while data[size] & 0x80:
                    size += 1
                size += 1
            tag, data = int.from_bytes(data[:size], "big"), data[size:]
            length, data = data[0], data[1:]
            if length & 0x80:
                size = length & 0x7F
                length, data = int.from_bytes(data[:size], "big"), data[size:]
            if length > len(data):
                raise Refused(0x6A80)
            found[tag], data = data[:length], data[length:]
    except IndexError:
        raise Refused(0x6A80) from None
    return found
