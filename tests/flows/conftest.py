"""The whole service, once for each ground it can stand on, shared by the flows of a module.

The grounds are SQLite and PostgreSQL with SoftHSM, and SQLite with NSS softokn as the module.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from keyvault.bootstrap import build
from keyvault.operations.vault import Vault
from tests.assessor import assert_listed
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
    "test_stations.py",
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
    "test_stations.py",
    "test_tokens.py",
)


# Flows that the second module goes through as well: all but one in the soak, and none that takes a
# hand with pkcs11-tool, which cannot start NSS.
ON_SOFTOKN = (
    "test_backups.py",
    "test_certificates.py",
    "test_compromise.py",
    "test_counters.py",
    "test_custody.py",
    "test_destruction.py",
    "test_handovers.py",
    "test_keks.py",
    "test_life.py",
    "test_main_job.py",
    "test_reconcile.py",
    "test_reconciliation.py",
    "test_registers.py",
)
SHORT = "test_a_key_lives_from_order_to_destruction_and_the_evidence_holds"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "flow_ground" not in metafunc.fixturenames:
        return
    name = metafunc.module.__name__.rpartition(".")[2] + ".py"
    soak = pytest.mark.soak
    postgresql = soak if name in ONE_DATABASE else ()
    grounds = [pytest.param("sqlite"), pytest.param("postgresql", marks=postgresql)]
    if name in ON_SOFTOKN and "hand" not in metafunc.fixturenames:
        short = metafunc.function.__name__ == SHORT
        grounds.append(pytest.param("softokn", marks=() if short else soak))
    metafunc.parametrize("flow_ground", grounds, indirect=True, scope="module")


@pytest.fixture(scope="module")
def flow_ground(request: pytest.FixtureRequest) -> tuple[str, str]:
    """What `Stack.make` takes: the URL of a database, and a module."""
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        return server.create("empty"), "softhsm"
    return "sqlite:///keyvault.db", "softokn" if request.param == "softokn" else "softhsm"


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
        if made.cache_info().currsize:
            assert_listed(made())


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest, flow_ground: tuple[str, str], common: Callable[[], Stack]
) -> Iterator[Stack]:
    if request.path.name in SHARED and flow_ground == ("sqlite:///keyvault.db", "softhsm"):
        yield common()
        return
    with Stack.make(*flow_ground) as made:
        made.start()
        yield made
        assert_listed(made)


@pytest.fixture
def vault(stack: Stack) -> Iterator[Vault]:
    """The parts of the service once more, in the test's own process."""
    built = build(stack.settings)
    yield built
    built.close()
