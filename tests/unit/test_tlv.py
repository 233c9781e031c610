"""BER-TLV: what is written is read back, and what is not TLV is refused, whatever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.errors import CardDataError
from hsm.pcsc import tlv

TAGS = st.sampled_from([0x53, 0x70, 0x7C, 0x82, 0x5F2F, 0x7F49, 0x5FC102, 0xFE])
OBJECTS = st.lists(st.tuples(TAGS, st.binary(max_size=300)), max_size=20)


@given(OBJECTS)
def test_what_is_written_is_read_back(objects: list[tuple[int, bytes]]) -> None:
    written = b"".join(tlv.encode(tag, value) for tag, value in objects)
    assert tlv.parse(written) == objects


@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 65_535, 65_536])
def test_every_form_of_length_is_written_and_read(size: int) -> None:
    assert tlv.unwrap(0x53, tlv.encode(0x53, bytes(size))) == bytes(size)


@given(st.binary(max_size=600))
def test_any_bytes_are_read_whole_or_refused(data: bytes) -> None:
    try:
        objects = tlv.parse(data)
    except CardDataError:
        return
    # An object has a tag and a length of a byte at least, and nothing is dropped or invented.
    assert sum(len(value) + 2 for _, value in objects) <= len(data)
    assert all(value in data for _, value in objects)


@given(OBJECTS, st.data())
def test_a_cut_is_never_read_as_the_whole(
    objects: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    written = b"".join(tlv.encode(tag, value) for tag, value in objects)
    cut = data.draw(st.integers(0, max(0, len(written) - 1)))
    try:
        read = tlv.parse(written[:cut])
    except CardDataError:
        return
    assert read == objects[: len(read)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("5380", "indefinite"),
        ("538401000000", "indefinite"),
        ("5381", "cut off"),
        ("53820100", "claims 256 bytes where 0 are left"),
        ("53", "without a length"),
        ("5f", "cut off"),
        ("5fc1", "cut off"),
        ("5fc1c10200", "too long"),
        ("0000", "begins with 00"),
        ("ff00", "begins with FF"),
        ("530053", "without a length"),
    ],
)
def test_malformed_objects_are_refused_by_name(data: str, why: str) -> None:
    with pytest.raises(CardDataError, match=why):
        tlv.parse(bytes.fromhex(data))


def test_more_objects_than_any_template_has_are_refused() -> None:
    assert len(tlv.parse(b"\x53\x00" * tlv.COUNT_LIMIT)) == tlv.COUNT_LIMIT
    with pytest.raises(CardDataError, match="more than 64"):
        tlv.parse(b"\x53\x00" * (tlv.COUNT_LIMIT + 1))


def test_an_object_that_stands_twice_is_refused() -> None:
    with pytest.raises(CardDataError, match="twice"):
        tlv.template(tlv.encode(0x82, b"a") + tlv.encode(0x82, b"b"))


def test_a_wrapper_with_another_tag_or_a_neighbour_is_refused() -> None:
    with pytest.raises(CardDataError, match="expected one data object 53, found 7C"):
        tlv.unwrap(0x53, tlv.encode(0x7C))
    with pytest.raises(CardDataError, match="found 53, 53"):
        tlv.unwrap(0x53, tlv.encode(0x53) * 2)
    with pytest.raises(CardDataError, match="found nothing"):
        tlv.unwrap(0x53, b"")
