"""Persons and systems: how they are named, and which keys a system may touch."""

import hashlib

import pytest

from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import Person, Role, System, check_id, thumbprint
from keyvault.domain.scopes import Scope
from tests.unit.officers import SCOPE


def system(*keys):
    return System("dcc-1", "DCC", SCOPE, b"", "00" * 32, frozenset({"key:sign"}), frozenset(keys))


@pytest.mark.parametrize("good", ["a", "alice", "dcc-1", "0", "a" * 63])
def test_an_id_is_a_plain_lower_case_word(good):
    assert check_id(good) == good


@pytest.mark.parametrize(
    "bad", ["", "Alice", "-a", "a b", "a.b", "a" * 64, "a\n", "person:a", "\u0430lice", "a/b"]
)
def test_an_id_that_could_be_taken_for_another_is_refused(bad):
    with pytest.raises(InvalidInputError, match="an id is"):
        check_id(bad)
    with pytest.raises(InvalidInputError, match="an id is"):
        Person(bad, "Alice", frozenset({Role.AUDITOR}), b"")


def test_a_thumbprint_is_the_sha_256_of_the_public_key():
    assert thumbprint(b"spki") == hashlib.sha256(b"spki").hexdigest()


def test_persons_and_systems_cannot_be_confused_in_the_log():
    assert Person("dcc-1", "Mr. Dcc", frozenset(), b"").actor == "person:dcc-1"
    assert system("*").actor == "system:dcc-1"


@pytest.mark.parametrize(
    ("keys", "key_id", "allowed"),
    [(("*",), "any", True), (("k1", "k2"), "k2", True), (("k1",), "k2", False), ((), "k1", False)],
)
def test_a_system_uses_the_keys_it_was_enrolled_for(keys, key_id, allowed):
    assert system(*keys).may_use(key_id, SCOPE) is allowed


def test_no_enrolment_reaches_into_another_scope():
    assert not system("*", "k1").may_use("k1", Scope("1f-example", "network-operator", "u1"))
