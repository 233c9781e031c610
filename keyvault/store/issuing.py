"""Issuing jobs: how far each is, and its journal."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, insert, select, update

from keyvault.domain.errors import ConflictError, IssueStateError, NotFoundError
from keyvault.domain.issuing import LIVE, IssueJob, IssueStep, Standing
from keyvault.store.issue_tables import issue_job
from keyvault.store.paging import Order
from keyvault.store.rows import document_of, moment, text_of, ticks

_NEWEST = Order(issue_job.c.created_at, issue_job.c.id, str, newest_first=True)


class Issuing:
    """The room of issuing jobs in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, job: IssueJob) -> None:
        """Raises `IssueStateError` where a job for this token has not ended."""
        same = (issue_job.c.token_id == str(job.token)) & issue_job.c.standing.in_(sorted(LIVE))
        other = self._connection.scalar(select(issue_job.c.id).where(same))
        if other is not None:
            raise IssueStateError(
                f"job {other} is at this token", next_step=f"go on: keyvault desk issue {other}"
            )
        self._connection.execute(insert(issue_job).values(_row(job)))

    def get(self, job_id: UUID) -> IssueJob:
        query = select(issue_job).where(issue_job.c.id == str(job_id))
        row = self._connection.execute(query).first()
        if row is None:
            raise NotFoundError(
                f"there is no issuing job {job_id}", next_step="list them: keyvault issuing list"
            )
        return _job(row)

    def of_token(self, token: UUID) -> IssueJob:
        """The newest job of a token. Raises `NotFoundError`."""
        found = self.last_of(token)
        if found is None:
            raise NotFoundError(f"no job ever worked on token {token}")
        return found

    def last_of(self, token: UUID) -> IssueJob | None:
        query = select(issue_job).where(issue_job.c.token_id == str(token))
        newest = query.order_by(issue_job.c.created_at.desc(), issue_job.c.id.desc())
        row = self._connection.execute(newest.limit(1)).first()
        return None if row is None else _job(row)

    def change(self, job: IssueJob) -> None:
        """Write the next version. Raises `ConflictError` where somebody else wrote one."""
        same = (issue_job.c.id == str(job.id)) & (issue_job.c.version == job.version - 1)
        changed = update(issue_job).where(same).values(_row(job))
        if self._connection.execute(changed).rowcount != 1:
            raise ConflictError(
                f"somebody else works on job {job.id}", next_step="see who: keyvault issuing show"
            )

    def page(
        self, filters: dict[str, str | None], after: str | None = None, limit: int = 50
    ) -> tuple[list[IssueJob], str | None]:
        """List jobs, newest first. `filters`: standing, batch."""
        query = select(issue_job)
        for name, value in filters.items():
            if value is not None:
                query = query.where(issue_job.c[name] == value)
        rows, following = _NEWEST.page(self._connection, query, after, limit)
        return [_job(row) for row in rows], following

    def in_work(self) -> dict[str, list[UUID]]:
        """Jobs that were begun and are not finished, by the station of their last insertion."""
        begun = issue_job.c.standing.in_((Standing.OPEN, Standing.INTERRUPTED))
        query = select(issue_job.c.station, issue_job.c.id).where(begun, issue_job.c.station != "")
        found: dict[str, list[UUID]] = {}
        for name, job in self._connection.execute(query.order_by(issue_job.c.id)):
            found.setdefault(name, []).append(UUID(job))
        return found

    def batch(self, name: str) -> dict[str, int]:
        """How many jobs of a batch stand where."""
        query = select(issue_job.c.standing, func.count()).where(issue_job.c.batch == name)
        rows = self._connection.execute(query.group_by(issue_job.c.standing))
        return {row[0]: row[1] for row in rows}


def _row(job: IssueJob) -> dict[str, Any]:
    return {
        "id": str(job.id),
        "token_id": str(job.token),
        "batch": job.batch,
        "kind": job.kind,
        "step": str(job.step),
        "standing": str(job.standing),
        "station": job.station,
        "actor": job.actor,
        "facts": text_of(job.facts),
        "version": job.version,
        "resumes": job.resumes,
        "created_at": ticks(job.created_at),
        "changed_at": ticks(job.changed_at),
    }


def _job(row: Row[Any]) -> IssueJob:
    return IssueJob(
        id=UUID(row.id),
        token=UUID(row.token_id),
        kind=row.kind,
        actor=row.actor,
        created_at=moment(row.created_at),
        changed_at=moment(row.changed_at),
        step=IssueStep(row.step),
        standing=Standing(row.standing),
        station=row.station,
        batch=row.batch,
        version=row.version,
        resumes=row.resumes,
        facts=document_of(row.facts),
    )
