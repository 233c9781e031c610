"""What went to tokens and came back: a text for each session, bounded in number and in age."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, delete, insert, select, update

from keyvault.domain.errors import NotFoundError
from keyvault.store.issue_tables import issue_trace
from keyvault.store.rows import moment, ticks

_T = issue_trace.c
_OLD = 200  # sessions that are forgotten at once


@dataclass(frozen=True, slots=True)
class KeptTrace:
    """The exchanges of one session, a line of canonical JSON each behind one that says whose."""

    id: UUID
    job: UUID
    began_at: datetime
    lines: str
    exchanges: int


class Traces:
    """The room of traces in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def keep(self, trace: KeptTrace) -> None:
        """Write a session down as far as it is."""
        same = _T.id == str(trace.id)
        now = {"lines": trace.lines, "exchanges": trace.exchanges}
        if self._connection.execute(update(issue_trace).where(same).values(now)).rowcount:
            return
        own = {"id": str(trace.id), "job_id": str(trace.job), "began_at": ticks(trace.began_at)}
        self._connection.execute(insert(issue_trace).values(own | now))

    def forget(self, job: UUID, newest: int, before: datetime) -> None:
        """Forget all but the `newest` of a job, and what is of any job and began before then."""
        own = select(_T.id).where(_T.job_id == str(job)).order_by(_T.began_at.desc(), _T.id)
        old = select(_T.id).where(_T.began_at < ticks(before)).order_by(_T.began_at)
        for some in (own.offset(newest), old):
            gone = list(self._connection.scalars(some.limit(_OLD)))
            if gone:
                self._connection.execute(delete(issue_trace).where(_T.id.in_(gone)))

    def of_job(self, job: UUID) -> list[KeptTrace]:
        """Those that are kept, oldest first."""
        query = select(issue_trace).where(_T.job_id == str(job))
        return [_kept(row) for row in self._connection.execute(query.order_by(_T.began_at, _T.id))]

    def get(self, trace_id: UUID) -> KeptTrace:
        row = self._connection.execute(select(issue_trace).where(_T.id == str(trace_id))).first()
        if row is None:
            raise NotFoundError(
                f"no trace {trace_id} is kept",
                next_step="the log's events of its job still have its digest",
            )
        return _kept(row)


def _kept(row: Row[Any]) -> KeptTrace:
    return KeptTrace(UUID(row.id), UUID(row.job_id), moment(row.began_at), row.lines, row.exchanges)
