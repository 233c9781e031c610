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
    COMMANDS,
    KEY_COMMANDS,
    Command,
    GenerateKey,
    ImportKey,
    RegisterPerson,
    command_of,
)
from keyvault.domain.commands.keys import MAX_DAYS, MAX_HOURS, MAX_USES
from keyvault.domain.commands.people import MAX_HOLD_HOURS
from keyvault.domain.commands.systems import MAX_OVERLAP_HOURS
from keyvault.domain.documents import BYTES_LIMIT, LIST_LIMIT, TEXT_LIMIT
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import Role
from tests.unit.examples import EXAMPLES, KEY, ORDER
from tests.unit.officers import changed, places

FIELDS = [(name, field) for name, example in EXAMPLES.items() for field in example]
INSIDE = [
    (name, path) for name in EXAMPLES for path in places(EXAMPLES[name]) if len(path) > 1
]  # fields of what stands in a field


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
    assert [grant.role for grant in person.grants] == [Role.AUDITOR]


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


WRONG = [None, True, 1.5, -1, 0, "", [], {}, [[]], [None], "\x1b[2J"]
FITS = {
    "expected": [None],  # what other fields may not be
    "manager": [None],
    "need": [None],
    "supersedes": [None],
    "parent": [None],
    "cell_usage": [None],
    "overlap_hours": [0],
    "version": [0],  # no such version was ever set
    "retention_days": [0],
    "classification": [None],
    "location": [None],
    "module_level": [0],
    "wait": [0],
    "approvals": [0],  # the linter has a word to say
    "groups": [0],
    "expires_after": [0],
    "group_by": [None],
    "in_force_from": [None],
    "transition_until": [None],
    "break_glass": [True],
    "extractable": [True],
    "guarded": [True],
    "login": [None],
    "login_only": [True],
    "share_set": [0],
    "drill": [True],
    "events": [0],
}


def _fits(field, wrong):
    return any(type(wrong) is type(good) and wrong == good for good in FITS.get(field, []))


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_no_field_takes_a_value_of_another_kind(name, field):
    for wrong in (wrong for wrong in WRONG if not _fits(field, wrong)):
        with pytest.raises(InvalidInputError):
            command_of(name, {**EXAMPLES[name], field: wrong})


@pytest.mark.parametrize(("name", "path"), INSIDE, ids=str)
def test_no_field_within_a_field_takes_a_value_of_another_kind(name, path):
    field = next(step for step in reversed(path) if isinstance(step, str))
    for wrong in (wrong for wrong in WRONG if not _fits(field, wrong)):
        with pytest.raises(InvalidInputError):
            command_of(name, changed(EXAMPLES[name], path, lambda _, to=wrong: to))


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
    with pytest.raises(InvalidInputError, match="1 to 36525 days"):
        command_of("generate-key", {**parameters, "process_days": MAX_DAYS + 1})


@pytest.mark.parametrize("text", ["AAE", "AAEC\n", "A A=", "AAF=", "-_8=", "ä"])
def test_bytes_have_one_spelling(text):
    with pytest.raises(InvalidInputError, match="blob is not what"):
        command_of("import-key", {**EXAMPLES["import-key"], "blob": text})


@pytest.mark.parametrize("text", [KEY.upper(), KEY.replace("-", ""), f"urn:uuid:{KEY}"])
def test_an_id_of_a_key_has_one_spelling(text):
    with pytest.raises(InvalidInputError, match="key is not what"):
        command_of("activate-key", {**EXAMPLES["activate-key"], "key": text})


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


@pytest.mark.parametrize(
    ("name", "field", "limit", "reason"),
    [
        ("allow-use", "uses", MAX_USES, "allow 1 to"),
        ("allow-use", "hours", MAX_HOURS, "allow 1 to"),
        ("hold-person", "hours", MAX_HOLD_HOURS, "for 1 to 72 hours"),
        ("rotate-system", "overlap_hours", MAX_OVERLAP_HOURS, "overlap for at most"),
    ],
)
def test_what_ends_by_itself_ends_soon_enough(name, field, limit, reason):
    parameters = {**EXAMPLES[name], field: limit}
    assert command_of(name, parameters).parameters() == parameters
    with pytest.raises(InvalidInputError, match=reason):
        command_of(name, {**parameters, field: limit + 1})


@pytest.mark.parametrize("name", ["register-person", "change-person"])
def test_nobody_is_their_own_manager(name):
    assert command_of(name, {**EXAMPLES[name], "manager": None}).manager is None
    with pytest.raises(InvalidInputError, match="nobody reports to themselves"):
        command_of(name, {**EXAMPLES[name], "manager": "erin"})


@pytest.mark.parametrize("days", [(0, 0), (0, 5), (1, MAX_DAYS + 1)])
def test_a_keys_periods_are_days_that_there_are(days):
    terms = dict(zip(("protect_days", "process_days"), days, strict=True))
    with pytest.raises(InvalidInputError):
        command_of("generate-key", {**ORDER, **terms})


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


@pytest.mark.parametrize("cell_usage", ["management", "prePaymentTopUp"])
def test_only_a_key_to_agree_with_is_ordered_for_slots_of_devices(cell_usage):
    agreeing = {**ORDER, "usage": "agree", "cell_usage": cell_usage}
    assert command_of("generate-key", agreeing).parameters() == agreeing
    for wrong in ({"usage": "sign"}, {"algorithm": "EC-P384"}):
        with pytest.raises(InvalidInputError, match="slots of devices"):
            command_of("generate-key", {**agreeing, **wrong})
