"""One house for most tests, with both gates running; some tests want one of their own."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hsm.uri import parse
from keyvault.gate.client import Gate
from tests import devices
from tests.gate.house import House, build, copy


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = build(tmp_path_factory.mktemp("house"))
    try:
        house.start("keys")
        house.start("log")
        yield house
    finally:
        house.close()


@pytest.fixture(scope="session")
def gate(house: House) -> Gate:
    return house.gate()


@pytest.fixture(scope="session")
def call(house: House) -> Callable[..., Any]:
    """Call any method of the keys gate."""
    return house.wire().call


@pytest.fixture
def untouched(gate: Gate) -> Iterator[None]:
    """Nothing is made or destroyed by the test."""
    before = gate.inventory()
    yield
    assert gate.inventory() == before


@pytest.fixture
def own(house: House, tmp_path: Path) -> Iterator[House]:
    """A house of the test's own, whose gates are not started."""
    own = copy(house, tmp_path)
    try:
        yield own
    finally:
        own.close()


@pytest.fixture
def faults(tmp_path: Path) -> devices.Faults:
    (tmp_path / "shim").mkdir()
    return devices.fault_module(tmp_path / "shim")


@pytest.fixture
def faulty(own: House, faults: devices.Faults) -> House:
    """A house of the test's own whose keys token obeys `faults`."""
    token = own.tokens["keys"]
    uri = replace(parse(token.uri), module_path=parse(faults.token.uri).module_path)
    environment = faults.token.environment | token.environment
    own.tokens["keys"] = devices.Token(str(uri), token.pin, environment)
    own.write(own.records[0].hash)
    return own
