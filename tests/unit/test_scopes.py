"""Scopes: the three parts, and nothing that could be read two ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.errors import InvalidInputError
from keyvault.domain.scopes import Scope

parts = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@given(parts, parts, parts)
def test_a_scope_reads_back_as_it_is_written(party, user_role, user_id):
    scope = Scope(party, user_role, user_id)
    assert Scope.parse(str(scope)) == scope
    assert Scope(**scope.document()) == scope


@pytest.mark.parametrize(
    "bad", ["", ".a", "-a", "a b", "a/b", "a\n", "ä", "a" * 65, "*", "a\u202eb", "a\0"]
)
@pytest.mark.parametrize("at", range(3))
def test_each_part_is_a_plain_word(bad, at):
    given_parts = ["party", "role", "id"]
    given_parts[at] = bad
    with pytest.raises(InvalidInputError, match="of a scope is"):
        Scope(*given_parts)


@pytest.mark.parametrize("text", ["", "a", "a/b", "a/b/c/d"])
def test_a_scope_has_exactly_three_parts(text):
    with pytest.raises(InvalidInputError, match="party/user-role/user-id"):
        Scope.parse(text)


def test_letters_of_different_case_are_different_scopes():
    assert Scope.parse("a/b/c") != Scope.parse("A/b/c")
