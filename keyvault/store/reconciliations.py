"""Reports of register against tokens, and who signed them. Rows are only ever added."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, insert, select

from keyvault.domain.errors import NotFoundError
from keyvault.domain.reconciliation import Reconciliation, Signed
from keyvault.store import register_tables as tables
from keyvault.store.paging import Order
from keyvault.store.rows import insert_new, moment, ticks

_REPORT = tables.reconciliation
_SIGNATURE = tables.reconciliation_signature
_NEWEST = Order(_REPORT.c.taken_at, _REPORT.c.id, str, newest_first=True)


class Reconciliations:
    """The room of reconciliations in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, made: Reconciliation) -> None:
        self._connection.execute(
            insert(_REPORT).values(
                id=str(made.id),
                taken_by=made.taken_by,
                sha256=made.sha256,
                taken_at=ticks(made.taken_at),
                findings=made.findings,
                report=made.report,
            )
        )

    def get(self, report: UUID) -> Reconciliation:
        """Raises `NotFoundError`."""
        row = self._connection.execute(select(_REPORT).where(_REPORT.c.id == str(report))).first()
        if row is None:
            raise NotFoundError(
                f"there is no reconciliation {report}", next_step="keyvault reconciliations list"
            )
        return self._report(row)

    def newest(self) -> Reconciliation | None:
        """The last one that was taken."""
        found, _ = self.page(limit=1)
        return found[0] if found else None

    def page(
        self, after: str | None = None, limit: int = 50
    ) -> tuple[list[Reconciliation], str | None]:
        """List them, the newest first, and the cursor of the next page."""
        rows, following = _NEWEST.page(self._connection, select(_REPORT), after, limit)
        return [self._report(row) for row in rows], following

    def sign(self, report: UUID, signed: Signed) -> bool:
        """Keep a signature; False if the person signed this report before."""
        return insert_new(
            self._connection,
            _SIGNATURE,
            reconciliation=str(report),
            person=signed.person,
            signed_at=ticks(signed.at),
            statement=signed.statement,
            signature=signed.signature,
        )

    def _report(self, row: Row[Any]) -> Reconciliation:
        query = select(_SIGNATURE).where(_SIGNATURE.c.reconciliation == row.id)
        rows = self._connection.execute(query.order_by(_SIGNATURE.c.signed_at, _SIGNATURE.c.person))
        return Reconciliation(
            id=UUID(row.id),
            taken_at=moment(row.taken_at),
            taken_by=row.taken_by,
            sha256=row.sha256,
            findings=row.findings,
            report=row.report,
            signed=tuple(
                Signed(one.person, moment(one.signed_at), one.statement, one.signature)
                for one in rows
            ),
        )
