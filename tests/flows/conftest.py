"""The whole service, once for each database, shared by the flows of a module."""

from collections.abc import Iterator

import pytest

from keyvault.bootstrap import build
from keyvault.operations.vault import Vault
from tests.databases import PostgreSQL
from tests.stack import Stack

# Flows whose own SQL the tests of the store try on both databases: here PostgreSQL is for the soak.
ONE_DATABASE = (
    "test_backups.py",
    "test_certificates.py",
    "test_compromise.py",
    "test_custody.py",
    "test_destruction.py",
    "test_emergency.py",
    "test_handovers.py",
    "test_keks.py",
    "test_life.py",
    "test_mine.py",
    "test_notices.py",
    "test_reconciliation.py",
    "test_registers.py",
    "test_revocation.py",
    "test_tokens.py",
    "test_watch.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in ONE_DATABASE and "postgresql" in item.name:
            item.add_marker(pytest.mark.soak)


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
