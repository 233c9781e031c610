"""Commands: read strictly, written in one way, and sensible before anybody signs them."""

from base64 import b64encode
from dataclasses import fields
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.types import USAGES, Algorithm, KeyUsage
from keyvault.domain.canonical import canonical
from keyvault.domain.commands import (
    AUTHORITY_COMMANDS,
    BYTES_LIMIT,
    COMMANDS,
    KEY_COMMANDS,
    LIST_LIMIT,
    MAX_DAYS,
    TEXT_LIMIT,
    Command,
    GenerateKey,
    ImportKey,
    RegisterPerson,
    command_of,
)
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import Role

KEY = "018f3b8e-7c7e-7000-8000-000000000001"
ORDER = {
    "label": "meter signing",
    "algorithm": "EC-P256",
    "usage": "sign",
    "key_class": "standard",
    "protect_days": 365,
    "process_days": 730,
}
ON_A_KEY = {"key": KEY, "reason": "as ordered"}
EXAMPLES = {
    "generate-key": ORDER,
    "import-key": {**ORDER, "kek": KEY, "blob": "AAEC"},
    "export-key": {**ON_A_KEY, "kek": KEY},
    "activate-key": ON_A_KEY,
    "resume-key": ON_A_KEY,
    "deactivate-key": ON_A_KEY,
    "destroy-key": ON_A_KEY,
    "register-person": {
        "person": "erin",
        "full_name": "Erin Example",
        "roles": ["auditor", "key-owner"],
        "spki": "AAEC",
    },
    "remove-person": {"person": "erin", "reason": "left"},
    "enrol-system": {
        "system": "dcc-1",
        "full_name": "DCC",
        "certificate": "AAEC",
        "actions": ["key:sign"],
        "keys": ["*"],
    },
    "revoke-system": {"system": "dcc-1", "reason": "gone"},
}
FIELDS = [(name, field) for name, example in EXAMPLES.items() for field in example]


def test_there_is_an_example_of_every_command():
    assert set(EXAMPLES) == set(COMMANDS)
    assert len(COMMANDS) == len(KEY_COMMANDS) + len(AUTHORITY_COMMANDS)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_command_writes_what_it_was_read_from(name):
    command = command_of(name, EXAMPLES[name])
    assert command.name == name
    assert canonical(command.parameters()) == canonical(EXAMPLES[name])


def test_values_become_the_types_that_their_names_promise():
    command = command_of("import-key", EXAMPLES["import-key"])
    assert isinstance(command, ImportKey)
    assert (command.kek, command.blob) == (UUID(KEY), b"\x00\x01\x02")
    assert (command.algorithm, command.usage) == (Algorithm.EC_P256, KeyUsage.SIGN)
    person = command_of("register-person", EXAMPLES["register-person"])
    assert isinstance(person, RegisterPerson)
    assert person.roles == (Role.AUDITOR, Role.KEY_OWNER)


@pytest.mark.parametrize("name", ["", "generate", "GENERATE-KEY", "genesis", "drop-table"])
def test_there_is_no_other_command(name):
    with pytest.raises(InvalidInputError, match="no command is called"):
        command_of(name, {})


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_no_field_may_be_missing_or_added(name, field):
    less = {key: value for key, value in EXAMPLES[name].items() if key != field}
    more = {**EXAMPLES[name], f"{field}_too": "x"}
    for parameters in (less, more):
        with pytest.raises(InvalidInputError, match="takes exactly"):
            command_of(name, parameters)


@pytest.mark.parametrize("parameters", [None, [], "x", 1])
def test_parameters_are_an_object(parameters):
    with pytest.raises(InvalidInputError, match="takes exactly"):
        command_of("activate-key", parameters)


@pytest.mark.parametrize("wrong", [None, True, 1.5, -1, 0, "", [], {}, [[]], [None], "\x1b[2J"])
@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_no_field_takes_a_value_of_another_kind(name, field, wrong):
    with pytest.raises(InvalidInputError, match=f"{field} is not what it should be"):
        command_of(name, {**EXAMPLES[name], field: wrong})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(st.sampled_from(FIELDS), json_values)
def test_whatever_stands_in_a_field_is_read_or_refused_with_our_own_error(place, value):
    name, field = place
    try:
        command = command_of(name, {**EXAMPLES[name], field: value})
    except InvalidInputError:
        return
    assert command_of(name, command.parameters()) == command


@pytest.mark.parametrize(
    ("field", "length", "fits"),
    [
        ("label", TEXT_LIMIT, True),
        ("label", TEXT_LIMIT + 1, False),
    ],
)
def test_a_text_has_its_limit(field, length, fits):
    parameters = {**ORDER, field: "x" * length}
    if fits:
        assert command_of("generate-key", parameters).parameters() == parameters
    else:
        with pytest.raises(InvalidInputError, match="printable"):
            command_of("generate-key", parameters)


@pytest.mark.parametrize("text", [" a", "a ", "a\nb", "a\tb", "a\u202eb", "a\u200bb"])
def test_a_text_shows_on_the_screen_what_it_is(text):
    with pytest.raises(InvalidInputError, match="printable"):
        command_of("generate-key", {**ORDER, "label": text})


@pytest.mark.parametrize("days", [1, MAX_DAYS])
def test_days_are_whole_numbers_within_a_century(days):
    parameters = {**ORDER, "protect_days": days, "process_days": MAX_DAYS}
    assert command_of("generate-key", parameters).parameters() == parameters
    with pytest.raises(InvalidInputError, match="whole number"):
        command_of("generate-key", {**parameters, "process_days": MAX_DAYS + 1})


@pytest.mark.parametrize("text", ["AAE", "AAEC\n", "A A=", "AAF=", "-_8=", "ä"])
def test_bytes_have_one_spelling(text):
    with pytest.raises(InvalidInputError, match="blob is not what"):
        command_of("import-key", {**EXAMPLES["import-key"], "blob": text})


def test_bytes_and_lists_have_their_limits():
    blob = b64encode(bytes(BYTES_LIMIT)).decode()
    command_of("import-key", {**EXAMPLES["import-key"], "blob": blob})
    longer = b64encode(bytes(BYTES_LIMIT + 1)).decode()
    with pytest.raises(InvalidInputError, match="base64 of 1 to"):
        command_of("import-key", {**EXAMPLES["import-key"], "blob": longer})
    keys = [f"k{number}" for number in range(LIST_LIMIT)]
    command_of("enrol-system", {**EXAMPLES["enrol-system"], "keys": keys})
    with pytest.raises(InvalidInputError, match="a list of 1 to"):
        command_of("enrol-system", {**EXAMPLES["enrol-system"], "keys": [*keys, "one more"]})


def test_a_list_names_nothing_twice():
    with pytest.raises(InvalidInputError, match="stands twice"):
        command_of("enrol-system", {**EXAMPLES["enrol-system"], "keys": ["k", "k"]})


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("usage", KeyUsage)
def test_a_key_is_ordered_only_for_what_its_kind_can_do(algorithm, usage):
    parameters = {**ORDER, "algorithm": str(algorithm), "usage": str(usage)}
    if usage in USAGES[algorithm]:
        assert command_of("generate-key", parameters).parameters() == parameters
    else:
        with pytest.raises(InvalidInputError, match="are not made for") as refusal:
            command_of("generate-key", parameters)
        assert refusal.value.next_step.startswith("use one of: ")


@pytest.mark.parametrize("kind", [GenerateKey, ImportKey])
def test_a_key_must_process_at_least_as_long_as_it_protects(kind):
    parameters = {**EXAMPLES[kind.name], "process_days": 364}
    with pytest.raises(InvalidInputError, match="at least as long"):
        command_of(kind.name, parameters)


def test_every_field_of_every_command_is_signed():
    for name, kind in COMMANDS.items():
        command = command_of(name, EXAMPLES[name])
        assert isinstance(command, Command)
        assert set(command.parameters()) == {field.name for field in fields(kind)}
