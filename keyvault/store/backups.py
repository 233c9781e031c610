"""Backups: keys that wrap them, shares, files, and restorations."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Table, insert, select, update

from keyvault.domain.backups import (
    Backup,
    BackupKey,
    BackupKeyState,
    BackupState,
    Restoration,
    RestorationState,
    Share,
    ShareState,
)
from keyvault.domain.errors import NotFoundError
from keyvault.domain.keys import Key
from keyvault.domain.scopes import Scope
from keyvault.store import backup_tables as tables
from keyvault.store.paging import Order
from keyvault.store.rows import document_of, moment, text_of, ticks

_KEY, _SHARE = tables.backup_key, tables.share
_BACKUP, _RESTORATION = tables.backup, tables.restoration
_NEWEST = Order(_BACKUP.c.taken_at, _BACKUP.c.id, str, newest_first=True)
_LATEST = Order(_RESTORATION.c.begun_at, _RESTORATION.c.id, str, newest_first=True)
_TIMES = frozenset({"made_at", "destroyed_at", "changed_at", "confirmed_at", "taken_at"}) | {
    "begun_at",
    "done_at",
}


class Backups:
    """The room of backups in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # Keys and shares

    def add_key(self, key: BackupKey) -> None:
        self._add(_KEY, key)

    def key(self, key_id: UUID) -> BackupKey:
        """Raises `NotFoundError`."""
        return _key(self._get(_KEY, key_id, "backup key"))

    def all_keys(self) -> list[BackupKey]:
        """Every one there ever was, the oldest first: there are few."""
        rows = self._connection.execute(select(_KEY).order_by(_KEY.c.made_at, _KEY.c.id))
        return [_key(row) for row in rows]

    def change_key(self, key: BackupKey) -> None:
        self._change(_KEY, _KEY.c.id == str(key.id), key)

    def add_share(self, share: Share) -> None:
        self._add(_SHARE, share)

    def shares(self, backup_key: UUID | None = None, holder: str | None = None) -> list[Share]:
        """The shares of a key, or of a person."""
        query = select(_SHARE).order_by(_SHARE.c.backup_key_id, _SHARE.c.number)
        if backup_key is not None:
            query = query.where(_SHARE.c.backup_key_id == str(backup_key))
        if holder is not None:
            query = query.where(_SHARE.c.holder == holder)
        return [_share(row) for row in self._connection.execute(query)]

    def share(self, backup_key: UUID, number: int) -> Share:
        """Raises `NotFoundError`."""
        for one in self.shares(backup_key):
            if one.number == number:
                return one
        raise NotFoundError(f"there is no share {number} of backup key {backup_key}")

    def change_share(self, share: Share) -> None:
        same = (_SHARE.c.backup_key_id == str(share.backup_key)) & (_SHARE.c.number == share.number)
        self._change(_SHARE, same, share)

    # Backups

    def add(self, backup: Backup) -> None:
        self._add(_BACKUP, backup)

    def get(self, backup_id: UUID) -> Backup:
        """Raises `NotFoundError`."""
        return _backup(self._get(_BACKUP, backup_id, "backup"))

    def change(self, backup: Backup) -> None:
        self._change(_BACKUP, _BACKUP.c.id == str(backup.id), backup)

    def page(self, after: str | None = None, limit: int = 50) -> tuple[list[Backup], str | None]:
        """The newest first, and the cursor of the next page."""
        rows, following = _NEWEST.page(self._connection, select(_BACKUP), after, limit)
        return [_backup(row) for row in rows], following

    def under(self, backup_key: UUID) -> list[Backup]:
        """The backups that are kept and that this key opens."""
        kept = _BACKUP.c.state == str(BackupState.KEPT)
        query = select(_BACKUP).where(_BACKUP.c.backup_key_id == str(backup_key), kept)
        return [_backup(row) for row in self._connection.execute(query)]

    def holding(self, key: Key) -> list[Backup]:
        """The backups that hold a copy of this key and were not destroyed, the oldest first."""
        query = select(_BACKUP).where(_BACKUP.c.state == str(BackupState.KEPT))
        rows = self._connection.execute(query.order_by(_BACKUP.c.taken_at, _BACKUP.c.id))
        return [one for one in map(_backup, rows) if one.holds(key)]

    # Restorations

    def add_restoration(self, restoration: Restoration) -> None:
        self._add(_RESTORATION, restoration)

    def restoration(self, restoration_id: UUID) -> Restoration:
        """Raises `NotFoundError`."""
        return _restoration(self._get(_RESTORATION, restoration_id, "restoration"))

    def change_restoration(self, restoration: Restoration) -> None:
        self._change(_RESTORATION, _RESTORATION.c.id == str(restoration.id), restoration)

    def restorations(
        self, after: str | None = None, limit: int = 50
    ) -> tuple[list[Restoration], str | None]:
        """The newest first, and the cursor of the next page."""
        rows, following = _LATEST.page(self._connection, select(_RESTORATION), after, limit)
        return [_restoration(row) for row in rows], following

    def collecting(self) -> list[Restoration]:
        """Those that nobody has ended."""
        state = str(RestorationState.COLLECTING)
        rows = self._connection.execute(
            select(_RESTORATION).where(_RESTORATION.c.state == state).order_by(_RESTORATION.c.id)
        )
        return [_restoration(row) for row in rows]

    def last_drill(self) -> Restoration | None:
        """The newest drill that succeeded."""
        done = _RESTORATION.c.drill.is_(True), _RESTORATION.c.state == str(RestorationState.DONE)
        query = select(_RESTORATION).where(*done).order_by(_RESTORATION.c.done_at.desc())
        row = self._connection.execute(query.limit(1)).first()
        return _restoration(row) if row else None

    def _get(self, table: Table, row_id: UUID, name: str) -> Row[Any]:
        row = self._connection.execute(select(table).where(table.c.id == str(row_id))).first()
        if row is None:
            raise NotFoundError(f"there is no {name} {row_id}")
        return row

    def _add(self, table: Table, value: object) -> None:
        self._connection.execute(insert(table).values(_row(table, value)))

    def _change(self, table: Table, same: Any, value: object) -> None:
        self._connection.execute(update(table).where(same).values(_row(table, value)))


_RENAMED = {"backup_key_id": "backup_key", "backup_id": "backup"}


def _row(table: Table, value: object) -> dict[str, Any]:
    names = [column.name for column in table.columns]
    return {name: _cell(name, getattr(value, _RENAMED.get(name, name))) for name in names}


def _cell(name: str, value: Any) -> Any:
    if name in _TIMES:
        return None if value is None else ticks(value)
    if name in ("entered", "report"):
        return text_of(list(value) if isinstance(value, tuple) else value or {})
    if value is None or isinstance(value, bool | int | bytes):
        return value
    return str(value)


def _fields(row: Row[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row._mapping.items():  # noqa: SLF001  (SQLAlchemy's public name for it)
        own = _RENAMED.get(name, name)
        found[own] = moment(value) if name in _TIMES and value is not None else value
    for name in ("id", "backup_key", "backup", "supersedes"):
        if found.get(name) is not None:
            found[name] = UUID(found[name])
    if found.get("scope") is not None:
        found["scope"] = Scope.parse(found["scope"])
    return found


def _key(row: Row[Any]) -> BackupKey:
    fields = _fields(row)
    return BackupKey(**{**fields, "state": BackupKeyState(fields["state"])})


def _share(row: Row[Any]) -> Share:
    fields = _fields(row)
    return Share(**{**fields, "state": ShareState(fields["state"])})


def _backup(row: Row[Any]) -> Backup:
    fields = _fields(row)
    return Backup(**{**fields, "state": BackupState(fields["state"])})


def _restoration(row: Row[Any]) -> Restoration:
    fields = _fields(row)
    told = {
        "state": RestorationState(fields["state"]),
        "entered": tuple(_numbers(fields["entered"])),
        "report": document_of(fields["report"]) or None,
    }
    return Restoration(**{**fields, **told})


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.strip("[]").split(",") if each]
