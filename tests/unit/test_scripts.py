"""Scripts of ceremonies: small, strict, without YAML's surprises, and fitting together."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.ceremonies import SCRIPT_LIMIT, Kind, filled, references, same
from keyvault.domain.errors import CeremonyError
from keyvault.scripts import read_script

SHIPPED = sorted((Path(__file__).parents[2] / "ceremonies").glob("*.yaml"))
GOOD = """\
ceremony: small
version: 1
title: A small one
purpose: to be read
roles: {one: does it, two: sees it}
steps:
  - {id: bag, kind: record, text: read, pattern: "[A-Z]{2}[0-9]{1,4}", example: AB12, sign: [one]}
  - {id: same, kind: verify, text: compare, value: "{bag}", sign: [one, two]}
  - {id: up, kind: run, text: look, by: one, command: health, sign: [two]}
  - {id: go, kind: pause, text: have lunch}
"""


def test_a_script_is_read_and_named_by_the_hash_of_its_bytes():
    script = read_script(GOOD.encode())
    assert [step.kind for step in script.steps] == [Kind.RECORD, Kind.VERIFY, Kind.RUN, Kind.PAUSE]
    assert script.needs_service
    assert read_script(GOOD.encode() + b"\n").sha256 != script.sha256


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("kind: pause", "kind: dance", "kind"),
        ("command: health", "command: keys export", "may run"),
        ("by: one", "by: three", "three"),
        ("sign: [one, two]", "sign: [one, one]", "two signatures of one role"),
        ("sign: [one, two]", "sign: []", "sign"),
        ('"{bag}"', '"{up.ready}"', "no earlier step"),
        ("id: same", "id: bag", "two steps"),
        ("example: AB12", "example: nothing", "does not fit"),
        ("[0-9]{1,4}", "(a+)+$", "pattern"),
        ("[A-Z]{2}[0-9]{1,4}", "[A-Z]+[0-9]+[A-Z]+[0-9]+[A-Z]+", "repeats too much"),
        ("version: 1", "version: 1\nversion: 2", "twice"),
        ("version: 1", "version: 1\nmore: true", "more"),
        ("purpose: to be read", "purpose: &a to be read\nbring: [*a]", "aliases"),
        ("purpose: to be read", "purpose: !!python/object:os.system {}", "purpose"),
        ("text: have lunch", "text: have lunch, value: x", "value"),
    ],
)
def test_what_does_not_fit_is_refused_and_named(old, new, why):
    assert old in GOOD
    with pytest.raises(CeremonyError, match=re.escape(why)):
        read_script(GOOD.replace(old, new).encode())


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"[" * 60_000, b"a: " * 9, b"x" * (SCRIPT_LIMIT + 1), b"- 1\n- 2\n"]
)
def test_what_is_no_script_is_refused(data):
    with pytest.raises(CeremonyError):
        read_script(data)


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_refused(data):
    with pytest.raises(CeremonyError):
        read_script(data)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_script_that_is_shipped_fits_together(path):
    script = read_script(path.read_bytes())
    assert script.name == path.stem
    assert any(step.kind is Kind.RUN for step in script.steps)


def test_values_of_earlier_steps_are_put_in_and_a_missing_one_is_named():
    text = "keys/{one}/{two.id}"
    assert references(text) == [("one", "value"), ("two", "id")]
    assert filled(text, {"one": {"value": "a"}, "two": {"id": "b"}}) == "keys/a/b"
    with pytest.raises(CeremonyError, match="two left no id"):
        filled(text, {"one": {"value": "a"}, "two": {}})


def test_values_agree_however_they_are_grouped():
    assert same("AB12 cd34", "ab12cd34")
    assert not same("ab12", "ab13")
    assert not same("Alice", "alice")
    assert not same("", "")
