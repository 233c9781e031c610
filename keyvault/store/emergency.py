"""Sealed codes for emergencies: what they are known by, and what came of each."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, insert, select, update

from keyvault.domain.emergency import EmergencyCode
from keyvault.store import register_tables as tables
from keyvault.store.paging import Order
from keyvault.store.rows import moment, ticks

_CODE = tables.emergency_code
_NEWEST = Order(_CODE.c.made_at, _CODE.c.id, str, newest_first=True)


class EmergencyCodes:
    """The room of sealed codes in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, code: EmergencyCode) -> None:
        self._connection.execute(
            insert(_CODE).values(
                id=str(code.id),
                person=code.person,
                verifier=code.verifier,
                use=code.use,
                made_at=ticks(code.made_at),
                until=ticks(code.until),
            )
        )

    def find(self, code: UUID) -> EmergencyCode | None:
        row = self._connection.execute(select(_CODE).where(_CODE.c.id == str(code))).first()
        return None if row is None else _code(row)

    def end(self, code: UUID, now: datetime, use: str) -> bool:
        """Use a code up; False if it was used, withdrawn or is over."""
        sealed = (_CODE.c.id == str(code)) & _CODE.c.used_at.is_(None)
        live = update(_CODE).where(sealed, _CODE.c.until > ticks(now))
        return self._connection.execute(live.values(used_at=ticks(now), use=use)).rowcount == 1

    def of(
        self, person: str, after: str | None = None, limit: int = 50
    ) -> tuple[list[EmergencyCode], str | None]:
        """List a person's codes, the newest first, and the cursor of the next page."""
        query = select(_CODE).where(_CODE.c.person == person)
        rows, following = _NEWEST.page(self._connection, query, after, limit)
        return [_code(row) for row in rows], following


def _code(row: Row[Any]) -> EmergencyCode:
    return EmergencyCode(
        id=UUID(row.id),
        person=row.person,
        verifier=row.verifier,
        made_at=moment(row.made_at),
        until=moment(row.until),
        used_at=None if row.used_at is None else moment(row.used_at),
        use=row.use,
    )
