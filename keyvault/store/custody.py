"""Custody: steps of keys, which are only ever added, and holds on them."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, insert, select, update

from keyvault.domain.custody import DestructionCertificate, HoldKind, KeyHold, KeyStep, Step
from keyvault.domain.errors import ConflictError, NotFoundError
from keyvault.store import tables
from keyvault.store.paging import Order
from keyvault.store.rows import document_of, insert_new, moment, text_of, ticks

_STEP = tables.key_step
_HOLD = tables.key_hold
_DESTRUCTION = tables.destruction
_OLDEST = Order(_STEP.c.at, _STEP.c.number, int)


class Custody:
    """The room of custody in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def next_number(self, key: UUID) -> int:
        """The number of the key's next step."""
        highest = select(func.max(_STEP.c.number)).where(_STEP.c.key_id == str(key))
        return int(self._connection.scalar(highest) or 0) + 1

    def add(self, step: KeyStep) -> None:
        """Raises `ConflictError` if somebody else's step took its number."""
        row = {
            "key_id": str(step.key),
            "number": step.number,
            "step": str(step.step),
            "at": ticks(step.at),
            "actor": step.actor,
            "about": step.about,
            "details": text_of(step.details),
        }
        if not insert_new(self._connection, _STEP, **row):
            raise ConflictError(
                f"another step of key {step.key} came between", next_step="try again"
            )

    def taken(self, key: UUID, step: Step, about: str | None = None) -> bool:
        """Whether this step was taken, of this target or certificate where one is given."""
        query = select(_STEP.c.number).where(_STEP.c.key_id == str(key), _STEP.c.step == str(step))
        if about is not None:
            query = query.where(_STEP.c.about == about)
        return self._connection.scalar(query.limit(1)) is not None

    def get(self, key: UUID, number: int) -> KeyStep:
        """Return one step of a key, which has to be there."""
        same = (_STEP.c.key_id == str(key)) & (_STEP.c.number == number)
        return _step(self._connection.execute(select(_STEP).where(same)).one())

    def page(
        self, key: UUID, after: str | None = None, limit: int = 50
    ) -> tuple[list[KeyStep], str | None]:
        """List a key's steps, oldest first, and the cursor of the next page."""
        query = select(_STEP).where(_STEP.c.key_id == str(key))
        rows, following = _OLDEST.page(self._connection, query, after, limit)
        return [_step(row) for row in rows], following

    def latest_of(self, keys: Collection[UUID]) -> dict[UUID, dict[Step, datetime]]:
        """When each step of each of these keys was taken last."""
        query = select(_STEP.c.key_id, _STEP.c.step, func.max(_STEP.c.at))
        query = query.where(_STEP.c.key_id.in_(list(map(str, keys))))
        found: dict[UUID, dict[Step, datetime]] = {}
        rows = self._connection.execute(query.group_by(_STEP.c.key_id, _STEP.c.step))
        for key, step, at in rows:
            found.setdefault(UUID(key), {})[Step(step)] = moment(at)
        return found

    def add_certificate(self, made: DestructionCertificate) -> bool:
        """Keep a certificate of destruction; False if the key has one already."""
        return insert_new(
            self._connection,
            _DESTRUCTION,
            key_id=str(made.key),
            issued_at=ticks(made.issued_at),
            statement=made.statement,
            signature=made.signature,
        )

    def certificate(self, key: UUID) -> DestructionCertificate | None:
        query = select(_DESTRUCTION).where(_DESTRUCTION.c.key_id == str(key))
        row = self._connection.execute(query).first()
        if row is None:
            return None
        return DestructionCertificate(key, moment(row.issued_at), row.statement, row.signature)

    # Holds

    def hold(self, hold: KeyHold) -> None:
        self._connection.execute(
            insert(_HOLD).values(
                id=str(hold.id),
                key_id=str(hold.key),
                kind=str(hold.kind),
                reason=hold.reason,
                set_at=ticks(hold.set_at),
                set_by=hold.set_by,
                lifted_by="",
            )
        )

    def holds(self, key: UUID) -> list[KeyHold]:
        """Return every hold that a key ever had, the oldest first."""
        query = select(_HOLD).where(_HOLD.c.key_id == str(key))
        rows = self._connection.execute(query.order_by(_HOLD.c.set_at, _HOLD.c.id))
        return [_hold(row) for row in rows]

    def get_hold(self, key: UUID, hold: UUID) -> KeyHold:
        """Raises `NotFoundError`, also for a hold on another key."""
        for one in self.holds(key):
            if one.id == hold:
                return one
        raise NotFoundError(
            f"key {key} has no hold {hold}", next_step=f"see keyvault keys dependants {key}"
        )

    def lift(self, hold: UUID, now: datetime, request: UUID) -> None:
        """Raises `ConflictError` if it is lifted already."""
        standing = (_HOLD.c.id == str(hold)) & _HOLD.c.lifted_at.is_(None)
        lifted = update(_HOLD).where(standing)
        changes = {"lifted_at": ticks(now), "lifted_by": str(request)}
        if self._connection.execute(lifted.values(changes)).rowcount != 1:
            raise ConflictError(f"hold {hold} is lifted already")


def _step(row: Row[Any]) -> KeyStep:
    return KeyStep(
        key=UUID(row.key_id),
        number=row.number,
        step=Step(row.step),
        at=moment(row.at),
        actor=row.actor,
        about=row.about,
        details=document_of(row.details),
    )


def _hold(row: Row[Any]) -> KeyHold:
    return KeyHold(
        id=UUID(row.id),
        key=UUID(row.key_id),
        kind=HoldKind(row.kind),
        reason=row.reason,
        set_at=moment(row.set_at),
        set_by=row.set_by,
        lifted_at=None if row.lifted_at is None else moment(row.lifted_at),
        lifted_by=row.lifted_by,
    )
