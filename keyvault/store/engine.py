"""Connections: what each database has to be told so that a commit is a commit."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from keyvault.domain.errors import BusyError, InvalidInputError, LogUnavailableError

WAIT = 15.0  # seconds a writer waits for its turn
_POLL = 0.0002  # seconds; SQLite's own busy handler sleeps up to 100 ms and starves the unlucky
_SQLITE = "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"
# What is deleted is overwritten: wrapped keys and erased payloads leave no copy in free pages.
_SQLITE_MORE = "PRAGMA secure_delete=ON", f"PRAGMA busy_timeout={int(WAIT * 1000)}"
# A process that stops in the middle of a transaction must not hold the log's head for ever.
# Not there, without the tables, or without a right. SQLAlchemy's errors, and the drivers' own
# where the log speaks to them directly.
_UNAVAILABLE = (
    *(OperationalError, InterfaceError, ProgrammingError),
    *(sqlite3.OperationalError, psycopg.OperationalError, psycopg.ProgrammingError),
)
_POSTGRESQL = "-c lock_timeout=15s -c idle_in_transaction_session_timeout=60s"


def open_engine(url: str) -> Engine:
    """Open a pool of connections. Raises `InvalidInputError` on a URL that cannot serve."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidInputError("the database setting is no URL") from error
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        return create_engine(parsed, connect_args={"options": _POSTGRESQL}, **_pool())
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return _open_sqlite(parsed)
    raise InvalidInputError(
        f"no support for a database like {parsed.drivername}",
        next_step="use sqlite:///path or postgresql://user@host/name",
    )


@lru_cache(maxsize=8)
def sqlite_path(engine: Engine) -> Path:
    return Path(str(engine.url.database))


def _pool() -> dict[str, Any]:
    return {"pool_size": 8, "max_overflow": 56, "pool_timeout": WAIT, "pool_pre_ping": True}


def _open_sqlite(url: URL) -> Engine:
    engine = create_engine(
        url, connect_args={"timeout": WAIT}, **_pool() | {"pool_pre_ping": False}
    )

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late to lock
        for pragma in _SQLITE + _SQLITE_MORE:
            connection.execute(pragma)

    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that may write, one at a time on SQLite; rolled back if not committed."""
    if engine.dialect.name == "sqlite":
        with _turn(sqlite_path(engine)), _connected(engine, writes=True) as connection:
            yield connection
    else:
        with _connected(engine, isolation_level="READ COMMITTED") as connection:
            yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open one snapshot to read from."""
    options: dict[str, Any] = {}
    if engine.dialect.name == "postgresql":
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _connected(engine, **options) as connection:
        yield connection


@contextmanager
def _connected(engine: Engine, **options: Any) -> Iterator[Connection]:
    with translated(), engine.connect().execution_options(**options) as connection:
        connection.begin()
        yield connection


@contextmanager
def translated() -> Iterator[None]:
    """Turn a database that does not answer into our own error, without its parameters."""
    try:
        yield
    except PoolTimeoutError as error:
        raise BusyError("too many transactions at once", next_step="try again") from error
    except _UNAVAILABLE as error:
        cause = str(getattr(error, "orig", error)).partition("\n")[0]
        raise LogUnavailableError(
            f"the database refused: {cause}",
            next_step="see that the database runs, has room and is migrated: keyvault doctor",
        ) from error


@contextmanager
def _turn(database: Path) -> Iterator[None]:
    """Wait in line. Who waits first holds the queue, so nobody who has just written overtakes."""
    with _held(database, "queue") as queue, _held(database, "writer"):
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield


@contextmanager
def _held(database: Path, name: str) -> Iterator[int]:
    with _opened(database, name) as descriptor:
        _lock(descriptor)
        yield descriptor


@contextmanager
def _opened(database: Path, name: str) -> Iterator[int]:
    descriptor = os.open(f"{database}-{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    patience = time.monotonic() + WAIT
    while not try_lock(descriptor):
        if time.monotonic() > patience:
            raise LogUnavailableError(
                f"another process has been writing for {WAIT:.0f} s",
                next_step="look for a process that is stopped in the middle of its work",
            )
        time.sleep(_POLL)


def try_lock(descriptor: int) -> bool:
    """Lock an open file if nobody else has; the lock goes when the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def elected(engine: Engine, office: str) -> Iterator[Callable[[], bool]]:
    """Give a function that says whether this process holds an office, and takes it if it is free.

    The office is free again when the block ends, or the process.
    """
    if engine.dialect.name == "sqlite":
        with _opened(sqlite_path(engine), office) as descriptor:
            yield lambda: try_lock(descriptor)
    else:
        query = select(func.pg_try_advisory_lock(crc32(office.encode())))
        with translated(), engine.connect() as connection:

            def holds() -> bool:  # a session that holds the lock may take it again
                with connection.begin():
                    return bool(connection.scalar(query))

            yield holds
            connection.invalidate()  # ends the session, and with it the lock
