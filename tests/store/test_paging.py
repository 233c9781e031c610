"""Pages of rows of several scopes: the same as if there were no pages, whatever their size."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from keyvault.domain.scopes import Scope
from keyvault.store import Database
from tests.store.events import new_key, used

SCOPES = [Scope("ACME", "IS", f"u{number}") for number in range(4)]


def listed(database: Database, limit: int, **chosen) -> list[UUID]:
    found, after = [], None
    while True:
        with database.reading() as work:
            keys, after = work.keys.page(after=after, limit=limit, **chosen)
        assert len(keys) <= limit
        found += [one.id for one in keys]
        if after is None:
            return found


def _of(number: int) -> int:
    """Which scope: the first has many in a row, so that a page can be all its own."""
    return 0 if number < 9 else number % 3


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 12, 50])
def test_pages_of_several_scopes_are_one_list(database: Database, limit: int):
    with database.work() as work:
        for number in range(20):
            at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number // 3)
            made = {"id": UUID(int=number + 1), "scope": SCOPES[_of(number)], "created_at": at}
            work.keys.add(new_key(**made))
        work.commit(used())
    every = listed(database, 50)
    assert len(every) == 20
    for some in (SCOPES, SCOPES[:2], SCOPES[2:], SCOPES[3:]):
        wanted = {SCOPES.index(one) for one in some}
        expected = [one for one in every if _of(one.int - 1) in wanted]
        assert listed(database, limit, scopes=frozenset(some)) == expected
