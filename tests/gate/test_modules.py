"""What a module may make: no key whose class asks for a better one, or for another place."""

import pytest

from keyvault.domain.errors import ModuleLevelError, ModuleLocationError
from keyvault.gate.client import Gate
from tests.gate.house import ask, order, signed


@pytest.mark.parametrize(
    ("key_class", "error", "words"),
    [
        ("production", ModuleLevelError, "counts as level 0, and the class asks for 1"),
        ("at-home", ModuleLocationError, "rest in UK, and this module is declared to stand in FR"),
    ],
)
@pytest.mark.usefixtures("untouched")
def test_softhsm_makes_no_key_for_production_whatever_it_is_declared_to_be_or_for_another_place(
    gate: Gate, key_class, error, words
):
    request = ask(order(key_class=key_class)).document
    with pytest.raises(error, match=words):
        gate.execute(request, signed(request))
