"""One running service for all tests of its surfaces."""

from collections.abc import Iterator

import pytest

from tests.assessor import assert_listed
from tests.stack import Stack
from tests.surface.carded import (  # noqa: F401  (pytest finds fixtures by name)
    _slot,
    bench,
    desk,
    order,
    own,
    virtual,
)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A whole service: three officers, gates, recorder, sealer and API, all real."""
    with Stack.make() as stack:
        stack.start()
        yield stack
        assert_listed(stack)


@pytest.fixture(scope="session")
def signing_key(stack: Stack) -> str:
    """The id of an active P-256 signing key."""
    return stack.active_key()


@pytest.fixture(scope="session")
def dcc(stack: Stack):
    """An enrolled system that may use every key of its scope."""
    actions = ("key:sign", "key:verify", "key:read", "key:encrypt", "key:decrypt", "key:mac")
    return stack.system("dcc-1", *actions, "random:read", "metrics:read")


@pytest.fixture(scope="session")
def auditor(stack: Stack):
    return stack.register("dora", "auditor")
