"""One bench for a test session, with a card in its first slot that tests exchange."""

import contextlib
from collections.abc import Iterator

import pytest

from hsm.pcsc.reader import wait_for_card
from tests.cards.bench import NAMES, Bench
from tests.cards.simulator.card import Card
from tests.cards.simulator.holder import personalised
from tests.cards.simulator.vpcd import VirtualCard


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


@pytest.fixture
def own_bench() -> Iterator[Bench]:
    """For a test that kills or freezes its pcscd."""
    with Bench() as bench:
        yield bench


@pytest.fixture(scope="session")
def _first_slot(bench: Bench) -> VirtualCard:
    virtual = bench.insert(Card(personalised()))
    assert wait_for_card(NAMES[0], seconds=10)
    return virtual


@pytest.fixture
def virtual(_first_slot: VirtualCard) -> VirtualCard:
    """The reader's first slot with a fresh card in it; a test may put another in its place."""
    _first_slot.card = Card(personalised())
    return _first_slot


@contextlib.contextmanager
def inserted(bench: Bench, card: object, slot: int) -> Iterator[VirtualCard]:
    """A card for a test that pulls it; afterwards the reader has seen it go."""
    virtual = bench.insert(card, slot)
    try:
        assert wait_for_card(NAMES[slot], seconds=10)
        yield virtual
    finally:
        virtual.remove()
        bench.until_removed(slot)
