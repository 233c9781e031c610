"""Connections: what each database has to be told so that a commit is a commit."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from zlib import crc32

from sqlalchemy import (
    Connection,
    Engine,
    PoolProxiedConnection,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from keyvault.domain.errors import (
    BusyError,
    InvalidInputError,
    LogUnavailableError,
    OutcomeUnknownError,
    VaultError,
)

WAIT = 15.0  # seconds a writer waits for its turn
PAUSE = 1.0  # seconds after which a standing connection is looked at before it is used
_POLL = 0.0002  # seconds; SQLite's own busy handler sleeps up to 100 ms and starves the unlucky
_SQLITE = "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"
# What is deleted is overwritten: wrapped keys and erased payloads leave no copy in free pages.
_SQLITE_MORE = "PRAGMA secure_delete=ON", f"PRAGMA busy_timeout={int(WAIT * 1000)}"
# A process that stops in the middle of a transaction must not hold the log's head for ever.
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
        options = connection.get_execution_options()
        if not options.get("standing"):  # which has begun already
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes") else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that may write, one at a time on SQLite; rolled back if not committed."""
    if engine.dialect.name == "sqlite":
        with (
            _locks(sqlite_path(engine)) as locks,
            _turn(*locks),
            _connected(engine, writes=True) as connection,
        ):
            yield connection
    else:
        with _connected(engine, isolation_level="READ COMMITTED") as connection:
            yield connection


class Standing:
    """A connection for one writer that comes back at once.

    It stays open, and begins and commits in the driver's own words: SQLAlchemy's way in and out
    takes longer than a small commit. What fails otherwise than by a no of ours takes it along.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._used = 0.0
        self._held = ExitStack()
        self._connection: Connection | None = None
        self._turn: Callable[[], AbstractContextManager[None]] = nullcontext

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Do as `writing` does, over and over."""
        with translated():
            connection = self._connected()
            try:
                with self._turn():
                    yield from self._transaction(connection)
            except VaultError:
                raise
            except BaseException:
                self.close()
                raise
            self._used = time.monotonic()

    def close(self) -> None:
        self._connection = None
        self._held.close()

    def _connected(self) -> Connection:
        if self._connection is not None and time.monotonic() - self._used > PAUSE:
            self.close()  # the pool looks whether it is still good
        if self._connection is None:
            if self._engine.dialect.name == "sqlite":
                locks = self._held.enter_context(_locks(sqlite_path(self._engine)))
                self._turn = partial(_turn, *locks)
            options = {"standing": True}
            opened = self._held.enter_context(self._engine.connect())
            self._connection = opened.execution_options(**options)
        return self._connection

    def _transaction(self, connection: Connection) -> Iterator[Connection]:
        if self._engine.dialect.name == "sqlite":
            driver_of(connection).execute("BEGIN IMMEDIATE")
        try:
            yield connection
        finally:
            if connection.in_transaction():  # SQLAlchemy began one for a statement of its own
                connection.rollback()
            driver_of(connection).rollback()


def driver_of(connection: Connection | PoolProxiedConnection) -> Any:
    """The driver's own connection, past the layers."""
    pooled = connection.connection if isinstance(connection, Connection) else connection
    return pooled.dbapi_connection


def commit(connection: Connection) -> None:
    """Commit what `writing` began. Raises `OutcomeUnknownError` if nobody can say whether."""
    driver = driver_of(connection)
    try:
        if connection.in_transaction():
            connection.commit()
        else:
            driver.commit()
    except _unavailable() as error:
        if not (getattr(error, "connection_invalidated", False) or _is_gone(driver)):
            raise
        raise OutcomeUnknownError(
            "the database went away while it was committing",
            next_step="look whether the change is there before you repeat it",
        ) from error


def _is_gone(driver: Any) -> bool:
    return bool(getattr(driver, "closed", False))  # SQLite's connections have no other end


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open one snapshot to read from."""
    options: dict[str, Any] = {}
    if engine.dialect.name == "postgresql":
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _connected(engine, **options) as connection:
        yield connection


@contextmanager
def glancing(engine: Engine) -> Iterator[PoolProxiedConnection]:
    """Give a connection for one statement, which is a snapshot by itself, past all layers."""
    with translated(), closing(engine.raw_connection()) as connection:
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
    except _unavailable() as error:
        cause = str(getattr(error, "orig", error)).partition("\n")[0]
        raise LogUnavailableError(
            f"the database refused: {cause}",
            next_step="see that the database runs, has room and is migrated: keyvault doctor",
        ) from error


@contextmanager
def _turn(queue: int, writer: int) -> Iterator[None]:
    """Wait in line. Who waits first holds the queue, so nobody who has just written overtakes."""
    _lock(queue)
    try:
        _lock(writer)
    finally:
        fcntl.flock(queue, fcntl.LOCK_UN)
    try:
        yield
    finally:
        fcntl.flock(writer, fcntl.LOCK_UN)


@contextmanager
def _locks(database: Path) -> Iterator[tuple[int, int]]:
    with _opened(database, "queue") as queue, _opened(database, "writer") as writer:
        yield queue, writer


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


def _unavailable() -> tuple[type[Exception], ...]:
    """Not there, without the tables, or without a right.

    SQLAlchemy's errors, and the drivers' own where the log speaks to them directly.
    """
    from psycopg import errors  # noqa: PLC0415  (a tenth of a second that SQLite need not pay)

    ours = OperationalError, InterfaceError, ProgrammingError
    return (*ours, sqlite3.OperationalError, errors.OperationalError, errors.ProgrammingError)
