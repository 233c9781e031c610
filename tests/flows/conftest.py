"""The whole service, once for each database, shared by the flows of a module."""

from collections.abc import Iterator

import pytest

from keyvault.bootstrap import build
from keyvault.operations.vault import Vault
from tests.databases import PostgreSQL
from tests.stack import Stack


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def flow_database(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return "sqlite:///keyvault.db"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.create("empty")


@pytest.fixture(scope="module")
def stack(flow_database: str) -> Iterator[Stack]:
    with Stack.make(flow_database) as made:
        made.start()
        yield made


@pytest.fixture
def vault(stack: Stack) -> Iterator[Vault]:
    """The parts of the service once more, in the test's own process."""
    built = build(stack.settings)
    yield built
    built.close()
