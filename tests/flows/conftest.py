"""The whole service, once for each database, shared by the flows of a module."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

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
    "test_counters.py",
    "test_custody.py",
    "test_destruction.py",
    "test_emergency.py",
    "test_handovers.py",
    "test_keks.py",
    "test_life.py",
    "test_mine.py",
    "test_notices.py",
    "test_reconcile.py",
    "test_reconciliation.py",
    "test_registers.py",
    "test_review.py",
    "test_revocation.py",
    "test_tampering.py",
    "test_tokens.py",
    "test_trust.py",
    "test_watch.py",
)

# Flows that leave a service as they found it, but for keys and people of their own names.
SHARED = (
    "test_certificates.py",
    "test_compromise.py",
    "test_counters.py",
    "test_custody.py",
    "test_destruction.py",
    "test_emergency.py",
    "test_life.py",
    "test_main_job.py",
    "test_mine.py",
    "test_registers.py",
    "test_review.py",
    "test_revocation.py",
    "test_tokens.py",
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


@pytest.fixture(scope="session")
def common() -> Iterator[Callable[[], Stack]]:
    """A service on SQLite that the modules of `SHARED` have in common, made when first wanted."""
    with ExitStack() as running:

        @cache
        def made() -> Stack:
            stack = running.enter_context(Stack.make())
            stack.start()
            return stack

        yield made


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest, flow_database: str, common: Callable[[], Stack]
) -> Iterator[Stack]:
    if request.path.name in SHARED and flow_database.startswith("sqlite"):
        yield common()
        return
    with Stack.make(flow_database) as made:
        made.start()
        yield made


@pytest.fixture
def vault(stack: Stack) -> Iterator[Vault]:
    """The parts of the service once more, in the test's own process."""
    built = build(stack.settings)
    yield built
    built.close()
