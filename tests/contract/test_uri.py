"""PKCS#11 URIs: RFC 7512, read strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.errors import UriError
from hsm.uri import TYPES, Pkcs11Uri, parse

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        Pkcs11Uri,
        token=TEXT,
        serial=TEXT,
        manufacturer=TEXT,
        model=TEXT,
        slot_id=st.none() | st.integers(0, 2**63 - 1),
        object=TEXT,
        id=st.binary(max_size=20),
        type=st.sampled_from(["", *sorted(TYPES)]),
        module_path=TEXT,
        module_name=TEXT,
        init_args=TEXT,
    )
)
def test_what_is_written_is_read_back(uri) -> None:
    assert parse(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "token", "identifier"),
    [
        ("pkcs11:", "", ""),
        ("PKCS11:token=The%20Software%20PKCS%2311%20Token", "The Software PKCS#11 Token", ""),
        ("pkcs11:object=my-pubkey;type=public", "", ""),
        ("pkcs11:token=a;id=%69%95%3E%5C%F4%BD%EC%91", "a", "69953e5cf4bdec91"),
        ("pkcs11:slot-id=327?module-path=/usr/lib/m.so", "", ""),
    ],
)
def test_the_examples_of_the_standard_are_read(text, token, identifier) -> None:
    uri = parse(text)
    assert (uri.token, uri.id.hex()) == (token, identifier)


@pytest.mark.parametrize("name", ["pin-value", "pin-source"])
def test_a_pin_in_a_uri_is_refused_and_not_repeated(name) -> None:
    with pytest.raises(UriError) as caught:
        parse(f"pkcs11:token=x?{name}=1234-secret")
    assert "1234-secret" not in f"{caught.value!r}{caught.value.next_step}"
    assert caught.value.next_step


@pytest.mark.parametrize(
    "text",
    [
        "",
        "token=x",
        "http://x",
        "pkcs11:token=a;token=b",
        "pkcs11:token",
        "pkcs11:token=a;",
        "pkcs11:unknown=1",
        "pkcs11:token=%zz",
        "pkcs11:token=%4",
        "pkcs11:token=a b",
        "pkcs11:token=%00",
        "pkcs11:token=%ff",
        "pkcs11:token=é",
        "pkcs11:slot-id=x",
        "pkcs11:slot-id=-1",
        "pkcs11:type=passport",
        "pkcs11:token=a?module-path=/a&module-path=/b",
        "pkcs11:token=a?token=b",
        "pkcs11:" + "token=" + "a" * 3000,
    ],
)
def test_what_the_standard_does_not_allow_is_refused(text) -> None:
    with pytest.raises(UriError):
        parse(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text) -> None:
    for candidate in (text, f"pkcs11:{text}"):
        try:
            uri = parse(candidate)
        except UriError:
            continue
        assert parse(str(uri)) == uri
