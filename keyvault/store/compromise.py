"""Cases of compromised keys and the notices that were sent of them. Rows are only ever added."""

from uuid import UUID

from sqlalchemy import Connection, func, insert, select

from keyvault.domain.compromise import Body, Case, NoticeSent
from keyvault.domain.errors import ConflictError, NotFoundError
from keyvault.store import tables
from keyvault.store.rows import insert_new, moment, ticks

_CASE = tables.compromise_case
_NOTICE = tables.compromise_notice


class Compromises:
    """The room of cases in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, case: Case) -> None:
        """Raises `ConflictError` if the key has a case already."""
        if not insert_new(
            self._connection,
            _CASE,
            key_id=str(case.key),
            known_at=ticks(case.known_at),
            declared_at=ticks(case.declared_at),
            declared_by=case.declared_by,
            reason=case.reason,
        ):
            raise ConflictError(f"key {case.key} was declared compromised before")

    def find(self, key: UUID) -> Case | None:
        row = self._connection.execute(select(_CASE).where(_CASE.c.key_id == str(key))).first()
        if row is None:
            return None
        return Case(
            key=key,
            known_at=moment(row.known_at),
            declared_at=moment(row.declared_at),
            declared_by=row.declared_by,
            reason=row.reason,
        )

    def get(self, key: UUID) -> Case:
        """Raises `NotFoundError`."""
        found = self.find(key)
        if found is None:
            raise NotFoundError(
                f"key {key} was not declared compromised",
                next_step="declare it: keyvault keys compromise",
            )
        return found

    def add_notice(self, notice: NoticeSent, notice_id: UUID) -> None:
        self._connection.execute(
            insert(_NOTICE).values(
                id=str(notice_id),
                key_id=str(notice.key),
                body=str(notice.body),
                sent_at=ticks(notice.sent_at),
                reference=notice.reference,
                actor=notice.actor,
            )
        )

    def open_cases(self, limit: int) -> list[tuple[Case, int]]:
        """Return cases of which not every body was told, and how many were; the oldest first."""
        told = func.count(_NOTICE.c.body.distinct())
        query = select(_CASE, told).outerjoin(_NOTICE, _NOTICE.c.key_id == _CASE.c.key_id)
        query = query.group_by(*_CASE.c).having(told < len(Body))
        rows = self._connection.execute(query.order_by(_CASE.c.known_at).limit(limit))
        return [
            (
                Case(
                    UUID(row.key_id),
                    moment(row.known_at),
                    moment(row.declared_at),
                    row.declared_by,
                    row.reason,
                ),
                row[-1],
            )
            for row in rows
        ]

    def notices(self, key: UUID) -> list[NoticeSent]:
        """Return the notices of a key's case, the earliest first."""
        query = select(_NOTICE).where(_NOTICE.c.key_id == str(key))
        rows = self._connection.execute(query.order_by(_NOTICE.c.sent_at, _NOTICE.c.id))
        return [
            NoticeSent(key, Body(row.body), moment(row.sent_at), row.reference, row.actor)
            for row in rows
        ]
