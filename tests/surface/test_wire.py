"""What may come in: shapes that are refused before parsing, and bodies that are read strictly."""

import time
from base64 import b64encode
from contextlib import suppress
from uuid import uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api.limits import DEPTH, OPENERS, check_shape
from api.rest.schemas.common import Data, Id, Text
from api.rest.schemas.use import BATCH_LIMIT, RandomIn, SignIn, VerifyIn
from hsm.types import Mechanism
from keyvault.domain.errors import InvalidInputError

DIGEST = b64encode(bytes(32)).decode()


@pytest.mark.parametrize("opener", [b"[", b'{"a":'])
def test_json_nested_beyond_the_limit_is_refused_before_it_is_parsed(opener):
    check_shape(opener * DEPTH)
    with pytest.raises(InvalidInputError, match="nested"):
        check_shape(opener * (DEPTH + 1))


def test_brackets_inside_texts_nest_nothing():
    check_shape(b'{"label": "' + b"[{" * 100 + b'\\"[[[["}')


def test_json_with_too_many_brackets_is_refused():
    with pytest.raises(InvalidInputError, match=str(OPENERS)):
        check_shape(b"[" + b"[]," * OPENERS + b"[]]")


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * 1_000_000,
        b"[" * 20 + b'"' + b'\\"' * 500_000,
        b'"' + b'\\"' * 500_000 + b"[" * 20,
        b'{"' * 4_000 + b"\\" * 1_000_000,
        b"[[],[]]" * 140_000,
    ],
)
def test_a_bomb_of_a_megabyte_costs_less_than_a_second(bomb):
    started = time.perf_counter()
    with suppress(InvalidInputError):
        check_shape(bomb)
    assert time.perf_counter() - started < 1


def test_json_in_utf_16_cannot_hide_its_brackets():
    with pytest.raises(InvalidInputError, match="UTF-8"):
        check_shape(('{"a":' * 40).encode("utf-16-le"))


@given(
    st.recursive(
        st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_body_deeper_than_the_limit_passes(value):
    def depth(item):
        if isinstance(item, dict):
            item = list(item.values())
        return 1 + max(map(depth, item), default=0) if isinstance(item, list) else 0

    body = orjson.dumps(value)
    if depth(value) > DEPTH:
        with pytest.raises(InvalidInputError):
            check_shape(body)
    else:
        check_shape(body)


@pytest.mark.parametrize(
    "text",
    [
        lambda u: str(u).upper(),
        lambda u: u.hex,
        lambda u: "{" + str(u) + "}",
        lambda u: f"urn:uuid:{u}",
        lambda u: f" {u}",
        lambda u: f"{u}\n",
    ],
)
def test_an_id_has_one_spelling(text):
    key_id = uuid4()
    adapter = TypeAdapter(Id)
    assert adapter.validate_python(str(key_id)) == key_id
    if text(key_id) == str(key_id):
        return
    with pytest.raises(ValidationError):
        adapter.validate_python(text(key_id))


@pytest.mark.parametrize("text", ["AA", "AAA=\n", "AB==", "A A=", "____", "AAAA=", "=AAA"])
def test_base64_has_one_spelling(text):
    with pytest.raises(ValidationError):
        TypeAdapter(Data).validate_python(text)


@given(st.binary(max_size=64))
def test_base64_of_any_bytes_is_read_back(data):
    assert TypeAdapter(Data).validate_python(b64encode(data).decode()) == data


@pytest.mark.parametrize("text", ["", " a", "a ", "a\nb", "a\0", "\u200b", "a\u202eb", "x" * 201])
def test_text_that_would_not_print_is_refused(text):
    with pytest.raises(ValidationError):
        TypeAdapter(Text).validate_python(text)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"digest": DIGEST, "digests": [DIGEST]},
        {"digests": []},
        {"digests": [DIGEST] * (BATCH_LIMIT + 1)},
        {"digest": DIGEST, "mechanism": "EdDSA"},
        {"message": DIGEST, "mechanism": "ECDSA"},
        {"digest": DIGEST, "mechanism": "AES-GCM"},
        {"digest": DIGEST, "key": "x"},
        {"digest": None},
        {"digest": ""},
    ],
)
def test_a_signing_body_says_exactly_what_to_sign(body):
    with pytest.raises(ValidationError):
        SignIn.model_validate(body)


def test_a_signing_body_gives_its_data_in_order():
    many = [b64encode(bytes([n]) * 32).decode() for n in range(3)]
    assert SignIn(digests=many).data == [bytes([n]) * 32 for n in range(3)]
    assert SignIn(digest=DIGEST).chosen is None
    assert SignIn(message="").data == [b""]
    assert SignIn(messages=[DIGEST]).chosen is Mechanism.EDDSA


@pytest.mark.parametrize("size", [True, "64", 64.5, float("inf"), float("nan"), 1e300, 0, 4097])
def test_a_size_is_a_whole_number_in_its_range(size):
    assert RandomIn(size=64.0).size == 64
    with pytest.raises(ValidationError):
        RandomIn(size=size)


def test_a_verification_takes_a_digest_or_a_message():
    assert VerifyIn(digest=DIGEST, signature=DIGEST).data == bytes(32)
    assert VerifyIn(message=DIGEST, signature=DIGEST).chosen is Mechanism.EDDSA
    with pytest.raises(ValidationError):
        VerifyIn(digest=DIGEST, message=DIGEST, signature=DIGEST)
