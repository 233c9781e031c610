"""Fixtures that every folder of tests may use."""

from tests.databases import (  # noqa: F401  (pytest finds fixtures by name)
    database,
    database_url,
    empty_database_url,
    postgresql,
    sqlite_template,
)
