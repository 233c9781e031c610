"""Migrations, forward and back, and what they leave in each database."""

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from keyvault.domain.errors import LogUnavailableError
from keyvault.store import Database
from keyvault.store.engine import open_engine, writing
from keyvault.store.tables import METADATA
from tests.databases import PostgreSQL
from tests.store.events import used

NOT_OURS = {"alembic_version"}
REFUSED = DBAPIError, LogUnavailableError  # as SQLite and as PostgreSQL say it


def test_migrations_run_forward_and_back_and_forward_again(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    assert database.version() is None
    for _ in range(2):
        database.migrate()
        assert database.version() == database.wanted_version()
        with database.work() as work:
            work.commit(used())
        database.migrate("base")
        assert database.version() is None
        assert _tables(empty_database_url) == NOT_OURS
    database.close()


def test_the_tables_are_those_that_the_migrations_make(database_url: str) -> None:
    engine = open_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    assert _tables(database_url) == set(METADATA.tables) | NOT_OURS
    engine.dispose()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE event SET actor = 'person:nobody'",
        "UPDATE event_payload SET payload = leaf_hash FROM event WHERE event.idx = 0",
        "UPDATE checkpoint SET note = ''",
        "UPDATE tile SET hashes = NULL",
        "UPDATE authority_record SET document = ''",
        "UPDATE log_head SET size = 0",
        "DELETE FROM event",
        "DELETE FROM event_payload",
        "DELETE FROM checkpoint",
        "DELETE FROM tile",
        "DELETE FROM authority_record",
        "DELETE FROM log_head",
    ],
)
def test_the_log_cannot_be_changed_or_shortened(database_url: str, change: str) -> None:
    _fill(database_url)
    engine = open_engine(database_url)
    with pytest.raises(REFUSED, match="the log only grows"), writing(engine) as connection:
        connection.execute(text(change))
    engine.dispose()


def test_an_insert_does_not_replace_an_event(database_url: str) -> None:
    _fill(database_url)
    engine = open_engine(database_url)
    statement = "INSERT INTO event SELECT * FROM event WHERE idx = 0"
    if engine.dialect.name == "sqlite":
        statement = statement.replace("INSERT", "INSERT OR REPLACE")
    with pytest.raises(REFUSED), writing(engine) as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_a_payload_can_be_erased_and_never_come_back(database_url: str) -> None:
    _fill(database_url)
    engine = open_engine(database_url)
    with writing(engine) as connection:
        connection.execute(
            text("UPDATE event_payload SET salt = NULL, payload = NULL, erased_at = 1")
        )
        connection.commit()
    back = "UPDATE event_payload SET salt = leaf FROM event WHERE event.idx = 0"
    with pytest.raises(REFUSED, match="the log only grows"), writing(engine) as connection:
        connection.execute(text(back))
    engine.dispose()


@pytest.mark.parametrize("table", ["event", "event_payload", "checkpoint", "tile", "log_head"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}"])
def test_the_role_of_the_service_has_no_right_to_shorten_the_log(
    postgresql: PostgreSQL, table: str, change: str
) -> None:
    _refused(postgresql.create("template"), change.format(table))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE event SET actor = 'person:nobody'",
        "UPDATE event_payload SET idx = 7",
        "UPDATE checkpoint SET note = ''",
        "INSERT INTO log_head SELECT * FROM log_head",
        "ALTER TABLE event DISABLE TRIGGER ALL",
        "DELETE FROM key",
    ],
)
def test_the_role_of_the_service_has_no_right_to_change_the_log(
    postgresql: PostgreSQL, change: str
) -> None:
    _refused(postgresql.create("template"), change)


def test_the_role_of_the_service_can_do_its_work(postgresql: PostgreSQL) -> None:
    database = Database(postgresql.create("template").replace("keyvault@", "app@"))
    with database.work() as work:
        work.commit(used())
    with database.reading() as reading:
        assert reading.audit.head().size == 1
    assert database.version() == database.wanted_version()
    database.close()


def _refused(url: str, statement: str) -> None:
    _fill(url)
    engine = open_engine(url.replace("keyvault@", "app@"))
    with pytest.raises(DBAPIError) as refusal, engine.connect() as connection:
        connection.execute(text(statement))
    assert isinstance(refusal.value.orig, psycopg.errors.InsufficientPrivilege)
    engine.dispose()


def _fill(url: str) -> None:
    """Put a row into every table of the log."""
    database = Database(url)
    with database.work() as work:
        work.commit(used())
    database.close()
    engine = open_engine(url)
    with writing(engine) as connection:
        _insert(connection, "checkpoint", "1, 'note', 1")
        _insert(connection, "tile", "0, 0, ''")
        _insert(connection, "authority_record", "0, '{}'")
        connection.commit()
    engine.dispose()


def _insert(connection: Connection, table: str, values: str) -> None:
    connection.execute(text(f"INSERT INTO {table} VALUES ({values})"))  # noqa: S608  (our own)


def _tables(url: str) -> set[str]:
    engine = open_engine(url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names
