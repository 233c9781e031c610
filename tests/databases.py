"""Real databases for tests: SQLite, and a PostgreSQL 15 that the tests start themselves.

Each test gets a migrated database of its own, copied from a template. The server runs from
Debian's package, as its own OS user since it refuses root, behind a Unix socket in a folder
of its own, so that no port can be taken; it ends with the session that started it.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest

from keyvault.store import Database

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
# The tests kill writers, not the server: its own flushes would only make them slower.
OPTIONS = ("-c", "fsync=off", "-c", "listen_addresses=", "-c", "max_connections=200")
MEMORY = Path("/dev/shm")
ROOM = 512 * 1024 * 1024  # bytes that the copies may take
KEPT = 24  # databases: each test has one or two, a module's fixture keeps one for long
PATIENCE = 30.0  # seconds for the server to start or stop


@dataclass
class PostgreSQL:
    """A running server. `url` names one of its databases."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str, user: str = "keyvault") -> str:
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}"

    def run(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(
            host=str(self.folder), user="keyvault", dbname=database, autocommit=True
        ) as connection:
            connection.execute(statement)  # type: ignore[arg-type]  # names are our own

    def create(self, template: str) -> str:
        """Return the URL of a fresh copy of `template`. The copies before the last few go."""
        number = next(self.numbers)
        self.run(f"CREATE DATABASE test_{number} TEMPLATE {template}")
        if number >= KEPT:
            self.run(f"DROP DATABASE IF EXISTS test_{number - KEPT} WITH (FORCE)")
        return self.url(f"test_{number}")


def _as_user() -> tuple[list[str], int | None]:
    """Return the prefix that runs a command as an unprivileged user, and who that is."""
    prefix = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() != 0:
        return prefix, None
    names = {user.pw_name for user in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [*prefix, *ids], user.pw_uid


def prepare(folder: Path) -> None:
    """Make the files of a new server in this folder."""
    prefix, uid = _as_user()
    if uid is not None:
        os.chown(folder, uid, -1)
    initdb = [*prefix, PROGRAMS / "initdb", "-U", "keyvault", "-A", "trust", "-E", "UTF8"]
    subprocess.run(
        [*initdb, "--no-sync", "--locale=C.UTF-8", "-D", folder / "data"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
    )


def start(folder: Path, *options: str) -> tuple[PostgreSQL, subprocess.Popen[bytes]]:
    """Start the server of a prepared folder, and wait until it answers."""
    prefix, _ = _as_user()
    command = [*prefix, PROGRAMS / "postgres", "-D", folder / "data", "-k", folder, *OPTIONS]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log, cwd=folder)
    server = PostgreSQL(folder)
    _wait(server, process)
    return server, process


def _wait(server: PostgreSQL, process: subprocess.Popen[bytes]) -> None:
    patience = time.monotonic() + PATIENCE
    while True:
        try:
            server.run("SELECT 1")
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > patience:
                pytest.fail("PostgreSQL did not start: " + (server.folder / "log").read_text())
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A server for the whole session, with an `empty` and a migrated `template` database."""
    if not (PROGRAMS / "initdb").exists():
        pytest.fail("these tests need PostgreSQL 15: apt-get install postgresql-15")
    # A copy is some three hundred files: where memory serves, no disk has to.
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=MEMORY if in_memory else None))
    folder.chmod(0o755)
    prepare(folder)
    server, process = start(folder)
    try:
        server.run("CREATE DATABASE empty")
        server.run("CREATE DATABASE template")
        _migrate(server.url("template"))
        server.run("CREATE ROLE app LOGIN IN ROLE keyvault_app")  # as the service is to log in
        yield server
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(PATIENCE)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _migrate(f"sqlite:///{path}")
    return path


def _migrate(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database, once for each kind that we support."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").create("template")
    path = tmp_path / "vault.db"
    shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without a table."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").create("empty")
    return f"sqlite:///{tmp_path / 'vault.db'}"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, node="test-node")
    yield opened
    opened.close()
