"""Ceremonies and their transcripts. Rows are only ever added."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from keyvault.domain.ceremonies import Ceremony
from keyvault.domain.errors import NotFoundError
from keyvault.store import ceremony_tables as tables
from keyvault.store.paging import Order
from keyvault.store.rows import insert_new, moment, ticks

_CEREMONY = tables.ceremony
_TRANSCRIPT = tables.ceremony_transcript
_NEWEST = Order(_CEREMONY.c.started_at, _CEREMONY.c.id, str, newest_first=True)
_BOTH = select(
    *(column for column in _CEREMONY.c if column is not _CEREMONY.c.script),
    _TRANSCRIPT.c.outcome,
    _TRANSCRIPT.c.sha256,
    _TRANSCRIPT.c.deviations,
    _TRANSCRIPT.c.closed_at,
    _TRANSCRIPT.c.closed_by,
).select_from(_CEREMONY.outerjoin(_TRANSCRIPT, _TRANSCRIPT.c.ceremony_id == _CEREMONY.c.id))


class Ceremonies:
    """The room of ceremonies in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(self, ceremony: Ceremony, script: bytes) -> bool:
        """Write down that a ceremony begins; False if one has this id already."""
        return insert_new(
            self._connection,
            _CEREMONY,
            id=str(ceremony.id),
            title=ceremony.title,
            script_sha256=ceremony.script_sha256,
            started_by=ceremony.started_by,
            script=script,
            started_at=ticks(ceremony.started_at),
        )

    def close(self, ceremony: Ceremony, transcript: bytes) -> bool:
        """Keep the transcript of a ceremony; False if it has one already."""
        if ceremony.closed_at is None:
            raise ValueError("a ceremony that is closed has a time of it")
        return insert_new(
            self._connection,
            _TRANSCRIPT,
            ceremony_id=str(ceremony.id),
            outcome=ceremony.outcome,
            sha256=ceremony.sha256,
            closed_by=ceremony.closed_by,
            deviations=ceremony.deviations,
            closed_at=ticks(ceremony.closed_at),
            transcript=transcript,
        )

    def find(self, ceremony: UUID) -> Ceremony | None:
        row = self._connection.execute(_BOTH.where(_CEREMONY.c.id == str(ceremony))).first()
        return None if row is None else _ceremony(row)

    def get(self, ceremony: UUID) -> Ceremony:
        """Raises `NotFoundError`."""
        found = self.find(ceremony)
        if found is None:
            raise NotFoundError(
                f"there is no ceremony {ceremony}", next_step="see keyvault ceremony list"
            )
        return found

    def transcript(self, ceremony: UUID) -> bytes:
        """Raises `NotFoundError` for a ceremony that has not ended."""
        query = select(_TRANSCRIPT.c.transcript)
        data = self._connection.scalar(query.where(_TRANSCRIPT.c.ceremony_id == str(ceremony)))
        if data is None:
            raise NotFoundError(f"ceremony {ceremony} has no transcript yet")
        return bytes(data)

    def page(self, after: str | None = None, limit: int = 50) -> tuple[list[Ceremony], str | None]:
        """List ceremonies, newest first, and the cursor of the next page."""
        rows, following = _NEWEST.page(self._connection, _BOTH, after, limit)
        return [_ceremony(row) for row in rows], following


def _ceremony(row: Any) -> Ceremony:
    return Ceremony(
        id=UUID(row.id),
        title=row.title,
        script_sha256=row.script_sha256,
        started_at=moment(row.started_at),
        started_by=row.started_by,
        outcome=row.outcome or "open",
        sha256=row.sha256 or "",
        deviations=row.deviations or 0,
        closed_at=None if row.closed_at is None else moment(row.closed_at),
        closed_by=row.closed_by or "",
    )
