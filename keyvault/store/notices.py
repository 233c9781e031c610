"""Notices that were sent: who was told what, and by which way, so that nobody is told twice."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, select

from keyvault.store import tables
from keyvault.store.rows import insert_new, ticks

_NOTICE = tables.notice
Telling = tuple[str, str, str]
"""A notice's key, the person and the channel."""


class Notices:
    """The room of notices in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def told(self, keys: Iterable[str]) -> set[Telling]:
        """What was sent of these notices."""
        query = select(_NOTICE.c.key, _NOTICE.c.person, _NOTICE.c.channel)
        rows = self._connection.execute(query.where(_NOTICE.c.key.in_(sorted(keys))))
        return {(row.key, row.person, row.channel) for row in rows}

    def add(self, telling: Telling, now: datetime) -> None:
        key, person, channel = telling
        insert_new(
            self._connection, _NOTICE, key=key, person=person, channel=channel, sent_at=ticks(now)
        )
