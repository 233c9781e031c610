"""A witness of each make, shared by a module; every test has a log of its own there."""

import pytest

from tests.witness.logs import Log
from tests.witness.places import Foreign, Ours

MAKES = {"ours": Ours, "foreign": Foreign}
LOGS = 9  # a module has no more tests of them


class House:
    """A running witness and the logs that it watches."""

    def __init__(self, place):
        self.logs = [Log(origin=f"vault.example/site-1/2026-{n}") for n in range(1, LOGS + 1)]
        self.place = place.make(*self.logs)


@pytest.fixture(scope="module", params=sorted(MAKES))
def house(request, tmp_path_factory):
    made = House(MAKES[request.param](tmp_path_factory.mktemp("w"), "witness.example/w1"))
    with made.place.running():
        yield made


@pytest.fixture
def log(house):
    return house.logs.pop()


@pytest.fixture
def witness(house, log):
    """A witness that watches the log and has cosigned its first 8 leaves."""
    assert house.place.post(log.request(0))[0] == 200
    return house.place


@pytest.fixture
def own(tmp_path):
    """A witness of ours for one test alone, not running."""
    return Ours(tmp_path / "own", "witness.example/own")
