"""Handovers: what was opened, what each custodian has handed over, and how it ended."""

from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select, update

from hsm.types import CheckValues
from keyvault.domain.errors import ConflictError, HandoverEndedError, NotFoundError
from keyvault.domain.handovers import Handover, HandoverState, Part
from keyvault.domain.scopes import Scope
from keyvault.store.handover_tables import handover, handover_part
from keyvault.store.paging import Order
from keyvault.store.rows import insert_new, moment, ticks

_NEWEST = Order(handover.c.opened_at, handover.c.request_id, str, newest_first=True)
_SWEPT = 100  # that a turn of the clerk ends


class Handovers:
    """The room of handovers in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, opened: Handover) -> None:
        """Raises `ConflictError` if the request has one already."""
        row = {
            "request_id": str(opened.id),
            "command": opened.command,
            "scope": str(opened.scope),
            "state": str(opened.state),
            "opened_at": ticks(opened.opened_at),
            "until": ticks(opened.until),
            "statement": opened.statement,
            "signature": opened.signature,
        }
        if not insert_new(self._connection, handover, **row):
            raise ConflictError("this handover was opened before")

    def find(self, request: UUID) -> Handover | None:
        same = handover.c.request_id == str(request)
        row = self._connection.execute(select(handover).where(same)).first()
        return None if row is None else replace(_handover(row), parts=self._parts(request))

    def get(self, request: UUID) -> Handover:
        """Raises `NotFoundError`."""
        found = self.find(request)
        if found is None:
            raise NotFoundError(
                f"no handover {request} was opened",
                next_step="carry its request out first: keyvault approvals execute",
            )
        return found

    def put(self, request: UUID, part: Part) -> None:
        """Write down a part; one that is there is written anew."""
        values = {
            "person": part.person,
            "session": part.session,
            "at": ticks(part.at),
            "cmac": part.check.cmac,
            "ecb": part.check.ecb,
            "bag": part.bag,
            "returned_at": ticks(part.returned_at) if part.returned_at else None,
        }
        named = {"request_id": str(request), "number": part.number}
        if not insert_new(self._connection, handover_part, **named, **values):
            same = _one(request, part.number)
            self._connection.execute(update(handover_part).where(same).values(**values))

    def end(self, ended: Handover) -> None:
        """Raises `HandoverEndedError` where it has ended already."""
        same = (handover.c.request_id == str(ended.id)) & (handover.c.state == HandoverState.OPEN)
        values = {
            "state": str(ended.state),
            "transcript": ended.transcript,
            "transcript_signature": ended.transcript_signature,
        }
        done = self._connection.execute(update(handover).where(same).values(**values))
        if done.rowcount != 1:
            raise HandoverEndedError("this handover has ended already")

    def page(
        self, *, scopes: AbstractSet[Scope] | None, after: str | None, limit: int
    ) -> tuple[list[Handover], str | None]:
        """List handovers, newest first, without their parts."""
        query = select(handover)
        if scopes is not None:
            query = query.where(handover.c.scope.in_(sorted(map(str, scopes))))
        rows, following = _NEWEST.page(self._connection, query, after, limit)
        return [_handover(row) for row in rows], following

    def overdue(self, now: datetime) -> list[UUID]:
        """Those that are open and past their time, some of them."""
        late = (handover.c.state == HandoverState.OPEN) & (handover.c.until <= ticks(now))
        query = select(handover.c.request_id).where(late).order_by(handover.c.until).limit(_SWEPT)
        return [UUID(found) for found in self._connection.scalars(query)]

    def _parts(self, request: UUID) -> tuple[Part, ...]:
        same = handover_part.c.request_id == str(request)
        query = select(handover_part).where(same).order_by(handover_part.c.number)
        return tuple(map(_part, self._connection.execute(query)))


def _one(request: UUID, number: int) -> Any:
    same = handover_part.c.request_id == str(request)
    return same & (handover_part.c.number == number)


def _handover(row: Row[Any]) -> Handover:
    return Handover(
        id=UUID(row.request_id),
        command=row.command,
        scope=Scope.parse(row.scope),
        state=HandoverState(row.state),
        opened_at=moment(row.opened_at),
        until=moment(row.until),
        statement=row.statement,
        signature=row.signature,
        transcript=row.transcript,
        transcript_signature=row.transcript_signature,
    )


def _part(row: Row[Any]) -> Part:
    return Part(
        number=row.number,
        person=row.person,
        session=row.session,
        at=moment(row.at),
        check=CheckValues(row.cmac, row.ecb),
        bag=row.bag,
        returned_at=moment(row.returned_at) if row.returned_at is not None else None,
    )
