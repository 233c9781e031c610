"""Events: the bytes that are hashed, what they commit to, and where they end."""

import base64
import hashlib
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.audit import (
    LEAF_LIMIT,
    PAYLOAD_LIMIT,
    SALT_SIZE,
    AuditEvent,
    EventType,
    Outcome,
    Stamp,
    leaf_of,
)
from keyvault.domain.canonical import CanonicalError, canonical, parse
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.tree import leaf_hash
from tests.unit.officers import SCOPE

EVENT = AuditEvent(
    type=EventType.KEY_USED,
    outcome=Outcome.OK,
    operation=UUID(int=1),
    stream="key:00000000-0000-0000-0000-000000000002",
    actor="system:dcc-1",
    payload={"count": 1, "digest": "ab" * 32},
    role="api-client",
    scope=SCOPE,
)
STAMP = Stamp(
    str(UUID(int=3)), 4, 5, "node-1", "boot-1", 6, 1_772_366_400_000, 7, "9:0a1b2c3d", "f" * 16
)
SALT = bytes(range(16))


def test_a_leaf_is_the_canonical_header_and_a_commitment_to_the_payload():
    leaf = leaf_of(EVENT, STAMP, SALT)
    read = parse(leaf.data)
    assert read["h"] == {
        "v": 1,
        "ev": "00000000-0000-0000-0000-000000000003",
        "ty": "KEY.USED",
        "out": "ok",
        "op": "00000000-0000-0000-0000-000000000001",
        "st": "key:00000000-0000-0000-0000-000000000002",
        "ks": 4,
        "ac": "system:dcc-1",
        "as": 5,
        "ro": "api-client",
        "sc": str(SCOPE),
        "n": "node-1",
        "bo": "boot-1",
        "ns": 6,
        "t": 1_772_366_400_000,
        "tm": 7,
        "cp": "9:0a1b2c3d",
        "pv": "ffffffffffffffff",
    }
    assert base64.b64decode(read["p"]) == hashlib.sha256(SALT + leaf.payload).digest()
    assert leaf.payload == canonical(EVENT.payload)
    assert leaf.salt == SALT
    assert leaf.hash == leaf_hash(leaf.data)


def test_the_leaf_shows_nothing_of_the_payload():
    assert b"ab" * 8 not in leaf_of(EVENT, STAMP, SALT).data


def test_an_event_without_scope_or_role_says_so_with_empty_texts():
    header = parse(leaf_of(replace(EVENT, scope=None, role=""), STAMP, SALT).data)["h"]
    assert (header["sc"], header["ro"]) == ("", "")


@given(st.binary(min_size=SALT_SIZE, max_size=SALT_SIZE), st.integers(0, 2**53 - 1))
def test_another_salt_or_payload_is_another_leaf(salt, count):
    first = leaf_of(EVENT, STAMP, SALT)
    other = leaf_of(replace(EVENT, payload={**EVENT.payload, "count": count}), STAMP, salt)
    assert (other.hash == first.hash) is (salt == SALT and count == 1)


def _padded(key, size):
    """An event whose payload, or whose leaf, has exactly `size` bytes."""
    if key == "payload":
        return replace(EVENT, payload={"x": "y" * (size - len(b'{"x":""}'))})
    return replace(
        EVENT, stream="s" * (size - len(leaf_of(replace(EVENT, stream=""), STAMP, SALT).data))
    )


@pytest.mark.parametrize(("key", "limit"), [("payload", PAYLOAD_LIMIT), ("data", LEAF_LIMIT)])
def test_an_event_has_its_limits_to_the_byte(key, limit):
    leaf = leaf_of(_padded(key, limit), STAMP, SALT)
    assert len(getattr(leaf, key)) == limit
    with pytest.raises(InvalidInputError, match="too long"):
        leaf_of(_padded(key, limit + 1), STAMP, SALT)


def test_a_payload_that_has_no_one_spelling_is_no_event():
    with pytest.raises(CanonicalError):
        leaf_of(replace(EVENT, payload={"seconds": 0.5}), STAMP, SALT)


@pytest.mark.parametrize("kind", EventType)
def test_an_event_type_is_a_noun_and_what_happened_to_it(kind):
    noun, what = str(kind).split(".")
    assert noun.isupper()
    assert what.replace("_", "").isupper()
