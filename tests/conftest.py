"""Fixtures that every folder of tests may use."""

import pytest

from tests.databases import (  # noqa: F401  (pytest finds fixtures by name)
    database,
    database_url,
    empty_database_url,
    postgresql,
    sqlite_template,
)

# Modules here start whole services: they come first, so that none is left over at the end.
SLOW = ("campaigns", "flows", "surface", "witness")
LONG = 40  # characters of a value that names no test


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long value by its argument: keys made anew in each worker would name tests apart."""
    return argname if isinstance(val, str | bytes) and len(val) > LONG else None


@pytest.hookimpl(trylast=True)  # after they were shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in SLOW)
