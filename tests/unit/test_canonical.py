"""Canonical JSON against the rfc8785 library as a second opinion."""

import contextlib
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.canonical import (
    MAX_DEPTH,
    MAX_INTEGER,
    CanonicalError,
    canonical,
    parse,
)

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | text
keys = st.text(st.characters(max_codepoint=127))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)
)
documents = st.dictionaries(keys, values, max_size=6)


@given(documents)
def test_the_encoding_is_the_one_of_the_library(document):
    assert canonical(document) == rfc8785.dumps(document)


@given(documents)
def test_what_was_encoded_reads_back_as_the_same(document):
    assert parse(canonical(document)) == document


@given(documents, st.booleans())
def test_another_spelling_of_the_same_document_is_refused(document, ascii_only):
    spelled = json.dumps(document, indent=1, ensure_ascii=ascii_only).encode()
    if spelled != canonical(document):
        with pytest.raises(CanonicalError, match="canonical"):
            parse(spelled)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_with_our_own_error(data):
    with contextlib.suppress(CanonicalError):
        assert canonical(parse(data)) == data


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        float("nan"),
        MAX_INTEGER + 1,
        -MAX_INTEGER - 1,
        "\ud800",
        {"\u00e9": 1},
        {1: 1},
        {"a": b"bytes"},
        {"a": {1, 2}},
        nested(MAX_DEPTH),
    ],
)
def test_what_encoders_may_disagree_on_is_refused(value):
    with pytest.raises(CanonicalError):
        canonical(value)


def test_the_deepest_document_allowed_is_encoded():
    assert canonical(nested(MAX_DEPTH - 1)).count(b"[") == MAX_DEPTH - 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"1",
        b'"text"',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1}\n',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":-0}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":9007199254740992}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_bytes_that_are_not_the_one_encoding_are_refused(data):
    with pytest.raises(CanonicalError):
        parse(data)


def test_a_document_over_its_limit_is_refused_unread():
    with pytest.raises(CanonicalError, match="limit of 5"):
        parse(b'{"a":1}', max_size=5)
