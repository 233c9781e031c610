"""Login sessions, by the thumbprint of their key."""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, select, update

from keyvault.domain.errors import ConflictError
from keyvault.store import tables
from keyvault.store.rows import insert_new, moment, ticks

_SESSION = tables.session


class Sessions:
    """The room of sessions in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open(self, spki_sha256: str, person: str, until: datetime, opened_at: datetime) -> None:
        """Raises `ConflictError` if this key has, or had, a session: each takes a fresh one."""
        values = {"person": person, "until": ticks(until), "opened_at": ticks(opened_at)}
        if not insert_new(
            self._connection, _SESSION, spki_sha256=spki_sha256, closed=False, **values
        ):
            raise ConflictError("this key has a session already", next_step="make a new key")

    def get(self, spki_sha256: str) -> tuple[str, datetime] | None:
        """Return the person and when the session ends; None if there is none or it was closed."""
        row = self._connection.execute(select(_SESSION).where(*_open(spki_sha256))).first()
        return None if row is None else (row.person, moment(row.until))

    def count(self, person: str, now: datetime) -> int:
        """Count a person's sessions that are open at `now`."""
        live = (_SESSION.c.person == person) & (_SESSION.c.until > ticks(now))
        query = select(func.count()).where(live, _SESSION.c.closed.is_(False))
        return int(self._connection.scalar(query) or 0)

    def live(self, now: datetime) -> list[tuple[str, str, datetime]]:
        """Return key, person and end of every session that is open at `now`."""
        open_ones = (_SESSION.c.until > ticks(now)) & _SESSION.c.closed.is_(False)
        rows = self._connection.execute(select(_SESSION).where(open_ones))
        return [(row.spki_sha256, row.person, moment(row.until)) for row in rows]

    def close(self, spki_sha256: str) -> bool:
        """End a session now; whether there was one. Its key can never open another."""
        closed = update(_SESSION).where(*_open(spki_sha256)).values(closed=True)
        return self._connection.execute(closed).rowcount == 1


def _open(spki_sha256: str) -> tuple[ColumnElement[bool], ...]:
    return _SESSION.c.spki_sha256 == spki_sha256, _SESSION.c.closed.is_(False)
