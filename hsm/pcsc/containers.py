"""What an issued card's data objects hold (SP 800-73-4 part 1, section 3 and tables 8 to 12).

Bytes alone: nothing here speaks with a card, and nothing signs.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hsm.errors import CardDataError
from hsm.pcsc import tlv
from hsm.pcsc.piv import CERTIFICATE_OF, PivObject, PivSlot, Tag
from hsm.tokens import TokenSlot

# Of a card outside the U.S. government: SP 800-73-4 asks for a FASC-N, and this one says nobody.
FASC_N = bytes.fromhex("d4e739da739ced39ce739d836858210842108421c84210c3eb")
FASC_N_TAG = 0x30
EXPIRES = b"20991231"  # the certificates say until when; a card itself has no end
CARD_IDENTIFIER = bytes.fromhex("a000000116ff02")
ISSUER_SIGNATURE_TAG = 0x3E
MAPPING_TAG = 0xBA
SECURITY_OBJECT_TAG = 0xBB
ERROR_DETECTION_TAG = 0xFE
MAPPED_SIZE = 3  # bytes of one data group in the mapping


class DataGroup(NamedTuple):
    """How a security object names a data object: our number, and its ContainerID (table 2)."""

    number: int
    container: int


DATA_GROUPS = {
    PivObject.CHUID: DataGroup(1, 0x3000),
    PivObject.CARD_CAPABILITY_CONTAINER: DataGroup(2, 0xDB00),
    PivObject.CERTIFICATE_AUTHENTICATION: DataGroup(3, 0x0101),
    PivObject.CERTIFICATE_SIGNATURE: DataGroup(4, 0x0100),
    PivObject.CERTIFICATE_KEY_MANAGEMENT: DataGroup(5, 0x0102),
    PivObject.CERTIFICATE_CARD_AUTHENTICATION: DataGroup(6, 0x0500),
}
OBJECT_OF = {group.container: where for where, group in DATA_GROUPS.items()}


def chuid(guid: bytes, signature: bytes | None = b"") -> bytes:
    """Table 9: FASC-N, GUID, date, and the issuer's signature.

    With None what is signed: everything else, the error detection code too.
    """
    return (
        tlv.encode(FASC_N_TAG, FASC_N)
        + tlv.encode(Tag.GUID, guid)
        + tlv.encode(Tag.EXPIRATION_DATE, EXPIRES)
        + (b"" if signature is None else tlv.encode(ISSUER_SIGNATURE_TAG, signature))
        + tlv.encode(ERROR_DETECTION_TAG)
    )


def chuid_parts(content: bytes) -> tuple[bytes, bytes]:
    """Return what of a CHUID is signed, and the issuer's signature. Raises `CardDataError`."""
    signature = tlv.template(content).get(ISSUER_SIGNATURE_TAG, b"")
    rest = [each for each in tlv.parse(content) if each.tag != ISSUER_SIGNATURE_TAG]
    return b"".join(tlv.encode(*each) for each in rest), signature


def capabilities(guid: bytes) -> bytes:
    """Table 8, with nothing beyond what has to be there."""
    head = tlv.encode(0xF0, CARD_IDENTIFIER + guid[:14])
    version = tlv.encode(0xF1, b"\x21") + tlv.encode(0xF2, b"\x21") + tlv.encode(0xF3)
    model = tlv.encode(0xF4, b"\0") + tlv.encode(0xF5, b"\x10")
    empty = b"".join(map(tlv.encode, (0xF6, 0xF7, 0xFA, 0xFB, 0xFC, 0xFD)))
    return head + version + model + empty + tlv.encode(ERROR_DETECTION_TAG)


def certificate(data: bytes) -> bytes:
    """Table 10: one certificate (DER), not compressed."""
    return (
        tlv.encode(Tag.CERTIFICATE, data)
        + tlv.encode(Tag.CERTIFICATE_INFO, b"\0")
        + tlv.encode(ERROR_DETECTION_TAG)
    )


def of_card(
    guid: bytes, certificates: Mapping[TokenSlot, bytes], signature: bytes = b""
) -> dict[PivObject, bytes]:
    """All that is written to a card but its security object."""
    objects = {
        PivObject.CHUID: chuid(guid, signature),
        PivObject.CARD_CAPABILITY_CONTAINER: capabilities(guid),
    }
    for slot, data in certificates.items():
        objects[CERTIFICATE_OF[PivSlot(int(slot, 16))]] = certificate(data)
    return objects


def security_object(covered: Iterable[PivObject], signed: bytes) -> bytes:
    """Table 12: which data group is which container, and the signed hashes (CMS, DER)."""
    mapping = b"".join(
        number.to_bytes() + container.to_bytes(2)
        for number, container in sorted(DATA_GROUPS[where] for where in covered)
    )
    parts = tlv.encode(MAPPING_TAG, mapping) + tlv.encode(SECURITY_OBJECT_TAG, signed)
    return parts + tlv.encode(ERROR_DETECTION_TAG)


def security_parts(content: bytes) -> tuple[dict[int, PivObject], bytes]:
    """Return data objects by their data group, and the signed hashes. Raises `CardDataError`."""
    fields = tlv.template(content)
    mapping, signed = fields.get(MAPPING_TAG, b""), fields.get(SECURITY_OBJECT_TAG, b"")
    if not mapping or len(mapping) % MAPPED_SIZE:
        raise CardDataError("the security object does not say which data groups it has")
    pieces = [mapping[at : at + MAPPED_SIZE] for at in range(0, len(mapping), MAPPED_SIZE)]
    try:
        table = {piece[0]: OBJECT_OF[int.from_bytes(piece[1:])] for piece in pieces}
    except KeyError as error:
        raise CardDataError(
            "the security object names a container that we write none of"
        ) from error
    if len(table) != len(pieces) or len(set(table.values())) != len(pieces):
        raise CardDataError("the security object names a data group or a container twice")
    return table, signed
