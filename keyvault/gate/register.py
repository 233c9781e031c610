"""What a gate must not forget: requests that it redeemed, and what its keys may be used for.

The database that the rest of the house works with may lie to the gate, so the gate keeps a small
one of its own, in the folder that several gates of one host share. A key is used only as far as
approvals that this gate redeemed itself allow, whatever state the house's register gives it.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from hsm.errors import KeyNotFoundError, KeyUnusableError
from hsm.types import VerifyPolicy
from keyvault.domain.approvals import Request
from keyvault.domain.canonical import canonical
from keyvault.domain.commands import AllowUse, NewKey
from keyvault.domain.errors import (
    KeyStateError,
    NotReadyError,
    ReplayedError,
    UseNotAllowedError,
    VaultError,
)
from keyvault.domain.keys import MOVES, USABLE, KeyClass, KeyState, Purpose, Residence

STALE = 0.02  # seconds that another gate's word may take to reach this one
_SCHEMA = """
CREATE TABLE IF NOT EXISTS redeemed (request TEXT PRIMARY KEY, document BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS life (
    key BLOB PRIMARY KEY, class TEXT NOT NULL, verify TEXT NOT NULL, guarded INTEGER NOT NULL,
    state TEXT NOT NULL, protect_until INTEGER NOT NULL, process_until INTEGER NOT NULL,
    wrapped INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS anchor (token TEXT PRIMARY KEY, redeemed INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS allowance (
    request TEXT PRIMARY KEY, key BLOB NOT NULL, uses INTEGER NOT NULL, until INTEGER NOT NULL
) WITHOUT ROWID;
"""
_WRAPPED = "ALTER TABLE life ADD COLUMN wrapped INTEGER NOT NULL DEFAULT 0"  # of an older program


@dataclass(frozen=True, slots=True)
class Life:
    """A key as this gate knows it. Times are in seconds since 1970.

    `wrapped` says that it was made to rest outside the token, so that nobody looks for it there.
    """

    key_class: str
    verify: VerifyPolicy
    guarded: bool
    state: KeyState
    protect_until: int
    process_until: int
    wrapped: bool = False

    def check(self, purpose: Purpose, now: float) -> None:
        """Raise `KeyStateError` unless the key may serve this purpose now."""
        if self.state not in USABLE[purpose]:
            raise KeyStateError(f"the key is {self.state}")
        until = self.protect_until if purpose is Purpose.PROTECT else self.process_until
        if now >= until:
            raise KeyStateError(f"the key's period to {purpose} has ended")


class Register:
    """The gate's own memory, flushed before the device acts. Raises `NotReadyError` if it cannot.

    `limit` is how many keys are held in the process; all of them are in the file.
    """

    def __init__(self, file: Path, limit: int = 4_096) -> None:
        self._limit = limit
        self._known: dict[bytes, Life] = {}
        self._version = 0
        self._looked = 0.0
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = sqlite3.connect(file, timeout=5, isolation_level=None)
        try:
            file.chmod(0o600)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = FULL")
            self._file.executescript(_SCHEMA)
            columns = self._file.execute("SELECT name FROM pragma_table_info('life')")
            if ("wrapped",) not in columns.fetchall():
                self._file.execute(_WRAPPED)
        except sqlite3.DatabaseError as error:
            raise NotReadyError(
                f"{file} cannot be read: {error}", next_step="restore it; it is never made up anew"
            ) from error

    def close(self) -> None:
        self._file.close()

    # Requests

    def redeem(self, request: Request, key_class: KeyClass | None, now: datetime) -> None:
        """Write a request and what it makes of its key down, once. `ReplayedError` after that."""
        document = canonical(request.document)
        with self._writing() as file:
            try:
                file.execute("INSERT INTO redeemed VALUES (?, ?)", (str(request.id), document))
            except sqlite3.IntegrityError as error:
                raise ReplayedError(
                    "this request was carried out before", next_step="ask again, for a new approval"
                ) from error
            command = request.command
            if isinstance(command, NewKey) and key_class is not None:
                self._begin(file, request.id.bytes, command, key_class, now)
            elif isinstance(command, AllowUse):
                until = int((now + timedelta(hours=command.hours)).timestamp())
                row = (str(request.id), command.key.bytes, command.uses, until)
                file.execute("INSERT INTO allowance VALUES (?, ?, ?, ?)", row)

    def withdraw(self, request_id: UUID) -> None:
        """Use a request up without acting on it; one that was redeemed stays as it is."""
        with self._writing() as file:
            file.execute("INSERT OR IGNORE INTO redeemed VALUES (?, ?)", (str(request_id), b""))

    def redeemed(self) -> int:
        """How many requests were ever redeemed or withdrawn here: it only rises."""
        query = "SELECT coalesce(max(rowid), 0) FROM redeemed"
        return int(self._file.execute(query).fetchone()[0])

    def anchored(self, token: str) -> int:
        """How many of them a node told its token of, both in one name."""
        query = "SELECT redeemed FROM anchor WHERE token = ?"
        row = self._file.execute(query, (token,)).fetchone()
        return int(row[0]) if row else 0

    def anchor(self, token: str, redeemed: int) -> None:
        with self._writing() as file:
            file.execute("INSERT OR REPLACE INTO anchor VALUES (?, ?)", (token, redeemed))

    def get(self, request_id: UUID) -> Request | None:
        """Return a request that was redeemed here."""
        query = "SELECT document FROM redeemed WHERE request = ?"
        row = self._file.execute(query, (str(request_id),)).fetchone()
        try:
            return Request.read(json.loads(row[0])) if row and row[0] else None
        except (ValueError, VaultError):  # of an older program
            return None

    # Keys

    def life(self, key_id: bytes) -> Life | None:
        """What is known of a key, as new as `STALE` allows."""
        if time.monotonic() - self._looked >= STALE:
            self.refresh()
        known = self._known.get(key_id)
        return known or self._read(key_id)

    def on_token(self, key_id: bytes) -> bytes:
        """Return the id. `KeyNotFoundError` if the key rests wrapped: a search would be in vain."""
        life = self.life(key_id)
        if life is not None and life.wrapped and life.state is not KeyState.DESTROYED:
            raise KeyNotFoundError("the key rests wrapped", next_step="load its record first")
        return key_id

    def move(self, key_id: bytes, state: KeyState) -> None:
        """Take an arrow of `MOVES`; to stay where one is changes nothing. `KeyStateError` else."""
        with self._writing() as file:
            self._move(file, key_id, state)

    def succeed(self, key_id: bytes, old: UUID | None) -> None:
        """Activate a key and, in the same transaction, deactivate the one that it follows."""
        with self._writing() as file:
            self._move(file, key_id, KeyState.ACTIVE)
            life = None if old is None else self._read(old.bytes)
            if old is not None and life and KeyState.DEACTIVATED in MOVES[life.state]:
                self._move(file, old.bytes, KeyState.DEACTIVATED)

    def _move(self, file: sqlite3.Connection, key_id: bytes, state: KeyState) -> None:
        life = self._read(key_id)
        if life is None:
            raise _stranger()
        if life.state is state:
            return
        if state not in MOVES[life.state]:
            raise KeyStateError(f"for the gate the key is {life.state} and cannot be {state}")
        file.execute("UPDATE life SET state = ? WHERE key = ?", (str(state), key_id))
        self._known.pop(key_id, None)

    def check_use(self, key_id: bytes, purpose: Purpose, count: int = 1) -> Life:
        """Let `count` uses through. Raises `KeyStateError`, `UseNotAllowedError`.

        Those of a guarded key are written off an allowance before the device is asked: a use that
        fails after that is used up all the same.
        """
        life = self.life(key_id)
        if life is None:
            raise _stranger()
        now = time.time()
        life.check(purpose, now)
        if life.guarded:
            self._take(key_id, count, int(now))
        return life

    def _take(self, key_id: bytes, count: int, now: int) -> None:
        query = (
            "SELECT request FROM allowance WHERE key = ? AND uses >= ? AND until > ? ORDER BY until"
        )
        with self._writing() as file:
            row = file.execute(query, (key_id, count, now)).fetchone()
            if row is None:
                raise UseNotAllowedError(
                    "nobody has allowed this use of a guarded key",
                    next_step="ask for it: keyvault keys allow",
                )
            file.execute("UPDATE allowance SET uses = uses - ? WHERE request = ?", (count, *row))

    def _begin(
        self,
        file: sqlite3.Connection,
        key_id: bytes,
        new: NewKey,
        key_class: KeyClass,
        now: datetime,
    ) -> None:
        protect, process = (
            int((now + timedelta(days=days)).timestamp())
            for days in (new.protect_days, new.process_days)
        )
        classified = (key_class.name, str(key_class.verify), int(key_class.guarded))
        wrapped = int(key_class.residence is Residence.WRAPPED)
        row = (key_id, *classified, str(KeyState.PRE_ACTIVE), protect, process, wrapped)
        file.execute("INSERT INTO life VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _read(self, key_id: bytes) -> Life | None:
        query = "SELECT * FROM life WHERE key = ?"
        row = self._file.execute(query, (key_id,)).fetchone()
        if row is None:
            return None
        _, name, verify, guarded, state, protect, process, wrapped = row
        about = name, VerifyPolicy(verify), bool(guarded), KeyState(state)
        life = Life(*about, protect, process, bool(wrapped))
        if len(self._known) >= self._limit:
            del self._known[next(iter(self._known))]
        self._known[key_id] = life
        return life

    def refresh(self) -> None:
        """Forget what is held if another gate of this host has written meanwhile."""
        version = self._file.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._known.clear()
            self._version = version
        self._looked = time.monotonic()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield self._file
                self._file.execute("COMMIT")
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise NotReadyError(
                f"the gate cannot write down what it does: {error}",
                next_step="make room for the gate's state",
            ) from error


def _stranger() -> KeyUnusableError:
    return KeyUnusableError(
        "this gate redeemed no order for the key",
        next_step="find out where it comes from; restoring one takes a ceremony",
    )
