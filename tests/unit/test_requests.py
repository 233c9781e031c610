"""A request on its way: its states over every pair, and the words that stand for its digest."""

from itertools import product

import pytest

from keyvault.domain.approvals import (
    REQUEST_MOVES,
    ApprovalRequest,
    RequestState,
    check_words,
)
from keyvault.domain.errors import RequestStateError
from tests.unit.officers import request_for

ASKED = request_for()

PATHS = """
requested > approved
requested > refused
requested > cancelled
requested > expired
approved > executing
approved > refused
approved > cancelled
approved > expired
executing > done
executing > void
"""
ARROWS = {tuple(map(RequestState, line.split(" > "))) for line in PATHS.split("\n") if line}


@pytest.mark.parametrize(("before", "after"), [*product(RequestState, RequestState)])
def test_a_request_takes_its_own_arrows_and_no_other(before, after):
    asked = ApprovalRequest(ASKED, before, version=4)
    if (before, after) in ARROWS:
        moved = asked.to(after)
        assert (moved.state, moved.version) == (after, 5)
    else:
        with pytest.raises(RequestStateError, match=f"is {before} cannot become {after}"):
            asked.to(after)


def test_what_is_executing_can_no_longer_be_called_back():
    assert REQUEST_MOVES[RequestState.EXECUTING] == {RequestState.DONE, RequestState.VOID}


@pytest.mark.parametrize(
    ("digest", "words"),
    [  # from the paper that proposed proquints, two addresses to a digest
        ("7f0000013f54dcc1", "lusab-babad-gutih-tugad"),
        ("3f7607238c62c18d", "gutuk-bisog-mudof-sakat"),
        ("40ff06c8801e342d", "haguz-biram-mabiv-gibot"),
        ("93437702d43afd44", "natag-lisaf-tibup-zujah"),
        ("d82344d7d844e815", "tobog-higil-todah-vobij"),
        ("c65181880c6e6ecc", "sinid-makam-budov-kuras"),
    ],
)
def test_check_words_are_proquints_of_the_first_64_bits(digest, words):
    assert check_words(bytes.fromhex(digest) + b"\xff" * 24) == words
