"""Login sessions, by the thumbprint of their key."""

import json
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, update

from keyvault.domain.audit import EventType
from keyvault.domain.errors import ConflictError
from keyvault.domain.times import milliseconds
from keyvault.store import tables
from keyvault.store.rows import insert_new, moment, ticks

_SESSION = tables.session
_EVENT = tables.event
_PAYLOAD = tables.event_payload
_OPEN = _SESSION.c.spki_sha256 == bindparam("of"), _SESSION.c.closed.is_(False)
_GET = select(_SESSION.c.person, _SESSION.c.until).where(*_OPEN)
_CLOSE = update(_SESSION).where(*_OPEN)
_ENDS = (
    select(_PAYLOAD.c.payload)
    .join(_EVENT, _EVENT.c.idx == _PAYLOAD.c.idx)
    .where(
        _EVENT.c.type == str(EventType.SESSION_CLOSED),
        _EVENT.c.actor == bindparam("by"),
        _EVENT.c.time_ms >= bindparam("since"),
    )
)


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
        row = self._connection.execute(_GET, {"of": spki_sha256}).first()
        return None if row is None else (row.person, moment(row.until))

    def was_closed(self, spki_sha256: str, actor: str, since: datetime) -> bool:
        """Whether the log tells that this actor ended the session, whatever its row says by now."""
        about = {"by": actor, "since": milliseconds(since)}
        ends = self._connection.scalars(_ENDS, about)
        return any(json.loads(end or b"{}").get("session") == spki_sha256 for end in ends)

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
        closed = {"of": spki_sha256, "closed": True}
        return self._connection.execute(_CLOSE, closed).rowcount == 1
