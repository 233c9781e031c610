"""Fixtures that every folder of tests may use."""

from tests.databases import (  # noqa: F401  (pytest finds fixtures by name)
    database,
    database_url,
    empty_database_url,
    postgresql,
    sqlite_template,
)

LONG = 40  # characters of a value that names no test


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long value by its argument: keys made anew in each worker would name tests apart."""
    return argname if isinstance(val, str | bytes) and len(val) > LONG else None
