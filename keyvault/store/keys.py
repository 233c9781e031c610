"""Keys: their metadata, and the wrapped ones' blobs. Never Secret Key Material in clear."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import lru_cache
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    PoolProxiedConnection,
    Row,
    bindparam,
    delete,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.expression import Executable

from hsm.types import Algorithm, KeySpec, KeyUsage, VerifyPolicy, WrappedKey
from keyvault.domain.errors import ConflictError, NotFoundError
from keyvault.domain.keys import Key, KeyState, Residence
from keyvault.domain.scopes import Scope
from keyvault.store import tables
from keyvault.store.paging import Order
from keyvault.store.prepared import MANY, Prepared
from keyvault.store.rows import insert_new, moment, ticks

_KEY = tables.key
_WRAPPED = tables.wrapped_key
_REQUEST = tables.approval_request
_ORDER = Order(_KEY.c.created_at, _KEY.c.id, str, newest_first=True)
_GET = select(_KEY).where(_KEY.c.id == bindparam("of"))
_VERSIONS = select(_KEY.c.id, _KEY.c.version).where(_KEY.c.id.in_(MANY))
_BOTH = select(*_KEY.c, *_WRAPPED.c).select_from(_KEY.outerjoin(_WRAPPED))
_BOTH = _BOTH.where(_KEY.c.id == bindparam("of"))
_CHANGE = update(_KEY).where(_KEY.c.id == bindparam("of"), _KEY.c.version == bindparam("was"))


class Keys:
    """The room of keys in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, key: Key, wrapped: WrappedKey | None = None) -> None:
        """Raises `ConflictError` if the id is taken."""
        if not insert_new(self._connection, _KEY, **_row(key)):
            raise ConflictError(f"there is a key {key.id} already")
        if wrapped is not None:
            self._connection.execute(insert(_WRAPPED), _wrapped_row(key.id, wrapped))

    def get(self, key_id: UUID) -> Key:
        """Raises `NotFoundError`."""
        row = self._connection.execute(_GET, {"of": str(key_id)}).first()
        if row is None:
            raise no_key(key_id)
        return _key(row)

    def some(self, key_ids: Collection[UUID]) -> dict[UUID, tuple[Key, WrappedKey | None]]:
        """Return those of these keys that there are, each with its wrapped record if it has one."""
        names = [str(key_id) for key_id in key_ids]
        blobs = self._connection.execute(select(_WRAPPED).where(_WRAPPED.c.key_id.in_(names)))
        wrapped = {row.key_id: _wrapped_key(row) for row in blobs}
        rows = self._connection.execute(select(_KEY).where(_KEY.c.id.in_(names)))
        return {UUID(row.id): (_key(row), wrapped.get(row.id)) for row in rows}

    def change(self, key: Key) -> None:
        """Store the next version. Raises `ConflictError` if another one came between.

        A destroyed key's wrapped blob goes with it.
        """
        same = {"of": str(key.id), "was": key.version - 1}
        if self._connection.execute(_CHANGE, _row(key) | same).rowcount != 1:
            raise ConflictError(f"key {key.id} changed meanwhile", next_step="look again")
        if key.state is KeyState.DESTROYED:
            gone = delete(_WRAPPED).where(_WRAPPED.c.key_id == str(key.id))
            self._connection.execute(gone)

    def page(
        self,
        *,
        scopes: AbstractSet[Scope] | None = None,
        state: KeyState | None = None,
        algorithm: Algorithm | None = None,
        label: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> tuple[list[Key], str | None]:
        """List keys, newest first, and the cursor of the next page. None leaves a filter open."""
        filters = {"state": state, "algorithm": algorithm, "label": label}
        query = select(_KEY).where(
            *(
                _filter(name, str(value), alone=label is None or name == "label")
                for name, value in filters.items()
                if value is not None
            )
        )
        if scopes is None:
            rows, following = _ORDER.page(self._connection, query, after, limit)
        else:
            among = _KEY.c.scope, sorted(map(str, scopes)), after, limit
            rows, following = _ORDER.page_among(self._connection, query, *among)
        return [_key(row) for row in rows], following

    def wrapped(self, key_id: UUID) -> WrappedKey | None:
        query = select(_WRAPPED).where(_WRAPPED.c.key_id == str(key_id))
        row = self._connection.execute(query).first()
        return None if row is None else _wrapped_key(row)

    def successor_of(self, key_id: UUID) -> UUID | None:
        """The key that was made to take over from this one, if any."""
        query = select(_KEY.c.id).where(_KEY.c.supersedes == str(key_id))
        found = self._connection.scalar(query)
        return UUID(found) if found else None

    def beside(self, keys: Collection[UUID]) -> dict[UUID, dict[str, datetime]]:
        """When each of these keys was ordered, and superseded: that stands in no row of its own."""
        ids = list(map(str, keys))
        ordered = select(_REQUEST.c.id, _REQUEST.c.requested_at).where(_REQUEST.c.id.in_(ids))
        followed = select(_KEY.c.supersedes, func.min(_KEY.c.active_from)).where(
            _KEY.c.supersedes.in_(ids), _KEY.c.active_from.is_not(None)
        )
        found: dict[UUID, dict[str, datetime]] = {key: {} for key in keys}
        queries = {"ordered": ordered, "superseded": followed.group_by(_KEY.c.supersedes)}
        for name, query in queries.items():
            for key, at in self._connection.execute(query):
                found[UUID(key)][name] = moment(at)
        return found

    def wrapped_under(self, kek: UUID, limit: int) -> tuple[list[UUID], int]:
        """Return the first keys that rest wrapped under this one, and how many there are."""
        under = _WRAPPED.c.kek_id == kek.bytes
        first = select(_WRAPPED.c.key_id).where(under).order_by(_WRAPPED.c.key_id).limit(limit)
        count = select(func.count()).select_from(_WRAPPED).where(under)
        found = [UUID(key_id) for key_id in self._connection.scalars(first)]
        return found, int(self._connection.scalar(count) or 0)

    def resting_elsewhere(
        self, kek: bytes, limit: int, after: UUID | None = None
    ) -> list[WrappedKey]:
        """Return the first keys, by their ids, that do not rest under this wrapping key."""
        query = select(_WRAPPED).where(_WRAPPED.c.kek_id != kek).order_by(_WRAPPED.c.key_id)
        if after is not None:
            query = query.where(_WRAPPED.c.key_id > str(after))
        return [_wrapped_key(row) for row in self._connection.execute(query.limit(limit))]

    def count_elsewhere(self, kek: bytes) -> int:
        count = select(func.count()).select_from(_WRAPPED).where(_WRAPPED.c.kek_id != kek)
        return int(self._connection.scalar(count) or 0)

    def rewrap(self, old: WrappedKey, new: WrappedKey) -> bool:
        """Put a record in the place of another; False if that one is not there any more."""
        key_id = str(UUID(bytes=old.spec.key_id))
        same = (_WRAPPED.c.key_id == key_id) & (_WRAPPED.c.mac == old.mac)
        changes = {"blob": new.blob, "kek_id": new.kek_id, "mac": new.mac}
        return self._connection.execute(update(_WRAPPED).where(same).values(changes)).rowcount == 1

    def owned(self, owner: str, before: datetime, limit: int) -> list[Key]:
        """Return keys of this owner that are in use and protect nothing new from a time before."""
        query = select(_KEY).where(_KEY.c.owner == owner, _KEY.c.protect_until < ticks(before))
        live = query.where(_KEY.c.state.in_((str(KeyState.ACTIVE), str(KeyState.PRE_ACTIVE))))
        ordered = live.order_by(_KEY.c.protect_until, _KEY.c.id).limit(limit)
        return [_key(row) for row in self._connection.execute(ordered)]

    def versions(self, key_ids: list[str]) -> dict[str, int]:
        """Return the version of each of these keys that exists."""
        statement = _prepared(_VERSIONS, self._connection.dialect)
        return dict(statement.among(self._connection, key_ids)) if key_ids else {}

    def ordered_by(self, person: str, limit: int) -> tuple[list[UUID], int]:
        """Return the ids of keys that a person ordered, the newest first, and how many there are.

        Destroyed keys are left out. A key has the id of the request that ordered it.
        """
        by = (_REQUEST.c.id == _KEY.c.id) & (_REQUEST.c.requester == person)
        query = select(_KEY.c.id).join(_REQUEST, by)
        query = query.where(_KEY.c.state != str(KeyState.DESTROYED))
        count = self._connection.scalar(select(func.count()).select_from(query.subquery()))
        newest = query.order_by(_KEY.c.created_at.desc(), _KEY.c.id.desc()).limit(limit)
        return [UUID(found) for found in self._connection.scalars(newest)], int(count or 0)

    def count_by_state(self) -> dict[KeyState, int]:
        query = select(_KEY.c.state, func.count()).group_by(_KEY.c.state)
        return {KeyState(state): count for state, count in self._connection.execute(query)}


@lru_cache(maxsize=16)
def _prepared(statement: Executable, dialect: Dialect, *names: str) -> Prepared:
    return Prepared(statement, dialect, names)


def both(
    connection: PoolProxiedConnection, dialect: Dialect, key_id: UUID
) -> tuple[Key, WrappedKey | None]:
    """A key and its wrapped record, if it has one, by one statement. Raises `NotFoundError`."""
    row = _prepared(_BOTH, dialect, "of").first(connection, str(key_id))
    if row is None:
        raise no_key(key_id)
    columns = len(_KEY.c)
    wrapped = SimpleNamespace(**dict(zip(_WRAPPED.c.keys(), row[columns:], strict=True)))
    key = SimpleNamespace(**dict(zip(_KEY.c.keys(), row[:columns], strict=True)))
    return _key(key), None if wrapped.key_id is None else _wrapped_key(wrapped)


def no_key(key_id: UUID) -> NotFoundError:
    """What is said of a key that is not there, and to whom it is none of their business."""
    return NotFoundError(f"there is no key {key_id}", next_step="list them: keyvault keys list")


def _filter(name: str, value: str, *, alone: bool) -> ColumnElement[bool]:
    """The condition of a filter; one that is not `alone` stands beside a label.

    Then it is nothing to search by: few keys have the same label, and half of all may have the
    same state, which planners get wrong. They do not search by what is true, but still know how
    often it is.
    """
    condition: ColumnElement[bool] = _KEY.c[name] == value
    return condition if alone else condition.is_(true())


def _row(key: Key) -> dict[str, Any]:
    return {
        "id": str(key.id),
        "scope": str(key.scope),
        "label": key.label,
        "algorithm": str(key.algorithm),
        "usage": str(key.usage),
        "key_class": key.key_class,
        "residence": str(key.residence),
        "verify": str(key.verify),
        "extractable": key.extractable,
        "state": str(key.state),
        "version": key.version,
        "created_at": ticks(key.created_at),
        "protect_until": ticks(key.protect_until),
        "process_until": ticks(key.process_until),
        "public_key": key.public_key,
        "check_value": key.check_value,
        "active_from": _ticks(key.active_from),
        "compromised_at": _ticks(key.compromised_at),
        "destroyed_at": _ticks(key.destroyed_at),
        "owner": key.owner,
        "supersedes": str(key.supersedes) if key.supersedes else None,
    }


def _key(row: Row[Any] | SimpleNamespace) -> Key:
    return Key(
        id=UUID(row.id),
        scope=Scope.parse(row.scope),
        label=row.label,
        algorithm=Algorithm(row.algorithm),
        usage=KeyUsage(row.usage),
        key_class=row.key_class,
        residence=Residence(row.residence),
        verify=VerifyPolicy(row.verify),
        extractable=bool(row.extractable),  # SQLite has numbers
        state=KeyState(row.state),
        version=row.version,
        created_at=moment(row.created_at),
        protect_until=moment(row.protect_until),
        process_until=moment(row.process_until),
        public_key=row.public_key,
        check_value=row.check_value,
        active_from=_moment(row.active_from),
        compromised_at=_moment(row.compromised_at),
        destroyed_at=_moment(row.destroyed_at),
        owner=row.owner,
        supersedes=UUID(row.supersedes) if row.supersedes else None,
    )


def _wrapped_row(key_id: UUID, wrapped: WrappedKey) -> dict[str, Any]:
    return {
        "key_id": str(key_id),
        "label": wrapped.spec.label,
        "algorithm": str(wrapped.spec.algorithm),
        "usage": str(wrapped.spec.usage),
        "extractable": wrapped.spec.extractable,
        "trusted": wrapped.spec.trusted,
        "blob": wrapped.blob,
        "kek_id": wrapped.kek_id,
        "mac_key_id": wrapped.mac_key_id,
        "mac": wrapped.mac,
        "public_key": wrapped.public_key,
    }


def _wrapped_key(row: Row[Any] | SimpleNamespace) -> WrappedKey:
    spec = KeySpec(
        key_id=UUID(row.key_id).bytes,
        label=row.label,
        algorithm=Algorithm(row.algorithm),
        usage=KeyUsage(row.usage),
        extractable=bool(row.extractable),
        trusted=bool(row.trusted),
    )
    return WrappedKey(spec, row.blob, row.kek_id, row.mac_key_id, row.mac, row.public_key)


def _ticks(when: datetime | None) -> int | None:
    return None if when is None else ticks(when)


def _moment(count: int | None) -> datetime | None:
    return None if count is None else moment(count)
