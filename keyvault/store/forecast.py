"""How many keys and certificates end when, counted where they lie."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

from sqlalchemy import Column, Connection, Table, case, func, select

from keyvault.domain.certificates import GOOD, WARNINGS
from keyvault.domain.keys import KeyState
from keyvault.domain.life import Ending
from keyvault.domain.scopes import Scope
from keyvault.store import tables
from keyvault.store.rows import ticks

_PROTECTING = (KeyState.PRE_ACTIVE, KeyState.ACTIVE, KeyState.SUSPENDED)


class Forecast:
    """The room of what is to come, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def endings(self, now: datetime, scopes: AbstractSet[Scope] | None = None) -> list[Ending]:
        """Count keys by class and certificates by profile, each by scope; None is every scope.

        Of a key the time to protect ends, of a certificate its validity.
        """
        keys, certificates = tables.key, tables.certificate
        return [
            *self._count("key", keys, keys.c.key_class, keys.c.protect_until, now, scopes),
            *self._count(
                *("certificate", certificates, certificates.c.profile, certificates.c.not_after),
                *(now, scopes),
            ),
        ]

    def _count(
        self,
        what: Literal["key", "certificate"],
        table: Table,
        group: Column[str],
        end: Column[int],
        now: datetime,
        scopes: AbstractSet[Scope] | None,
    ) -> Iterator[Ending]:
        states = _PROTECTING if what == "key" else GOOD
        chosen = table.c.state.in_(sorted(map(str, states))), end < _after(now, max(WARNINGS))
        query = select(group, table.c.scope, *_counts(end, now)).where(*chosen)
        if scopes is not None:
            query = query.where(table.c.scope.in_(sorted(map(str, scopes))))
        rows = query.group_by(group, table.c.scope).order_by(group, table.c.scope)
        for name, scope, *counts in self._connection.execute(rows):
            yield Ending(what, name or "watched", scope or "", *map(int, counts))


def _counts(end: Column[int], now: datetime) -> list[Any]:
    """Columns: how many have ended, and how many end in each span of days after that."""
    bounds = [_after(now, days) for days in (0, *sorted(WARNINGS))]
    spans = [end < bounds[0]]
    spans += [(end >= low) & (end < high) for low, high in pairwise(bounds)]
    return [func.sum(case((span, 1), else_=0)) for span in spans]


def _after(now: datetime, days: int) -> int:
    return ticks(now + timedelta(days=days))
