"""The foundation: the log, keys, approval requests, authority, sessions and repeated calls."""

from collections.abc import Iterator
from hashlib import sha256

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The tables as they were at this revision. Later ones change `tables.py`, never this.
_METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, *, null: bool = False, key: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null, primary_key=key)


def _number(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, _NUMBER, nullable=null)


def _place(name: str) -> Column[int]:
    return Column(name, _NUMBER, primary_key=True, autoincrement=False)


def _bytes(name: str, *, null: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=null)


event = Table(
    "event",
    _METADATA,
    _place("idx"),
    _bytes("leaf"),
    _bytes("leaf_hash"),
    _text("type"),
    _text("outcome"),
    _text("stream"),
    _text("actor"),
    _text("scope"),
    _number("time_ms"),
)
Index(None, event.c.time_ms, event.c.idx)
for _filter in ("type", "outcome", "stream", "actor", "scope"):
    Index(None, event.c[_filter], event.c.time_ms, event.c.idx)

event_payload = Table(
    "event_payload",
    _METADATA,
    _place("idx"),
    _bytes("salt", null=True),
    _bytes("payload", null=True),
    _number("erased_at", null=True),
)
stream_head = Table(
    "stream_head",
    _METADATA,
    _text("name", key=True),
    _number("next"),
)
log_head = Table(
    "log_head",
    _METADATA,
    _place("id"),
    _number("size"),
    _bytes("peaks"),
    _bytes("root"),
    _text("checkpoint"),
    _text("authority"),
    _number("latest_ms"),
    CheckConstraint("id = 1", name="one"),
)
tile = Table(
    "tile",
    _METADATA,
    _place("level"),
    _place("number"),
    _bytes("hashes"),
)
checkpoint = Table(
    "checkpoint",
    _METADATA,
    _place("size"),
    _text("note"),
    _number("signed_at"),
)
authority_record = Table(
    "authority_record",
    _METADATA,
    _place("number"),
    _text("document"),
)


key = Table(
    "key",
    _METADATA,
    _text("id", key=True),
    _text("scope"),
    _text("label"),
    _text("algorithm"),
    _text("usage"),
    _text("key_class"),
    _text("residence"),
    _text("verify"),
    Column("extractable", Boolean, nullable=False),
    _text("state"),
    _number("version"),
    _number("created_at"),
    _number("protect_until"),
    _number("process_until"),
    _bytes("public_key"),
    _text("check_value"),
    _number("active_from", null=True),
    _number("compromised_at", null=True),
    _number("destroyed_at", null=True),
    _text("owner"),
    _text("supersedes", null=True),
)
Index(None, key.c.supersedes)
Index(None, key.c.created_at, key.c.id)
Index(None, key.c.scope, key.c.created_at, key.c.id)
for _filter in ("state", "algorithm", "label"):
    Index(None, key.c[_filter], key.c.created_at, key.c.id)
    Index(None, key.c.scope, key.c[_filter], key.c.created_at, key.c.id)

wrapped_key = Table(
    "wrapped_key",
    _METADATA,
    Column("key_id", Text, ForeignKey(key.c.id), primary_key=True),
    _text("label"),
    _text("algorithm"),
    _text("usage"),
    Column("extractable", Boolean, nullable=False),
    Column("trusted", Boolean, nullable=False),
    _bytes("blob"),
    _bytes("kek_id"),
    _bytes("mac_key_id"),
    _bytes("mac"),
    _bytes("public_key"),
)
approval_request = Table(
    "approval_request",
    _METADATA,
    _text("id", key=True),
    _text("scope", null=True),  # null for what concerns every scope
    _text("state"),
    _number("version"),
    _text("requester"),
    _number("requested_at"),
    _text("document"),
)
Index(None, approval_request.c.requested_at, approval_request.c.id)
for _filter in ("state", "requester", "scope"):
    Index(
        None,
        approval_request.c[_filter],
        approval_request.c.requested_at,
        approval_request.c.id,
    )
approval = Table(
    "approval",
    _METADATA,
    Column("request_id", Text, ForeignKey(approval_request.c.id), primary_key=True),
    _text("approver", key=True),
    _text("document"),
)


session = Table(
    "session",
    _METADATA,
    _text("spki_sha256", key=True),
    _text("person"),
    _number("until"),
    _number("opened_at"),
    Column("closed", Boolean, nullable=False),
)
idempotency = Table(
    "idempotency",
    _METADATA,
    _text("principal", key=True),
    _text("key", key=True),
    _bytes("request_hash"),
    _text("outcome", null=True),
)

_REFUSED = "the log only grows: nobody changes or deletes its rows"
_APPEND_ONLY = ("event", "tile", "checkpoint", "authority_record")
_ERASED = "NEW.idx = OLD.idx AND NEW.salt IS NULL AND NEW.payload IS NULL AND NEW.erased_at > 0"


def upgrade() -> None:
    connection = op.get_bind()
    _METADATA.create_all(connection)
    head = {"id": 1, "size": 0, "peaks": b"", "root": sha256(b"").digest()}
    quoted = {"checkpoint": "", "authority": "", "latest_ms": 0}
    op.bulk_insert(log_head, [{**head, **quoted}])
    guards = _guards_postgresql() if connection.dialect.name == "postgresql" else _guards_sqlite()
    for statement in guards:
        op.execute(statement)


def downgrade() -> None:
    connection = op.get_bind()
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        op.execute("DROP OWNED BY keyvault_app")  # what it was granted; it owns nothing
    _METADATA.drop_all(connection)
    if postgresql:
        op.execute("DROP FUNCTION keyvault_refuse()")


def _guards_sqlite() -> Iterator[str]:
    for table in (*_APPEND_ONLY, "event_payload", "log_head"):
        yield _trigger_sqlite(f"{table}_delete", f"BEFORE DELETE ON {table}")
        yield from _replace_sqlite(table)
    for table in _APPEND_ONLY:
        yield _trigger_sqlite(f"{table}_update", f"BEFORE UPDATE ON {table}")
    erase = f"BEFORE UPDATE ON event_payload WHEN NOT coalesce({_ERASED}, 0)"
    yield _trigger_sqlite("event_payload_update", erase)
    shrink = "BEFORE UPDATE ON log_head WHEN NEW.size < OLD.size"
    yield _trigger_sqlite("log_head_update", shrink)


def _replace_sqlite(table: str) -> Iterator[str]:
    """INSERT OR REPLACE deletes a row without asking the trigger that guards deletion."""
    keys = [column.name for column in _METADATA.tables[table].primary_key]
    same = " AND ".join(f"{key} = NEW.{key}" for key in keys)
    taken = f"BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608  (our own names)
    yield _trigger_sqlite(f"{table}_replace", taken)


def _trigger_sqlite(name: str, when: str) -> str:
    return f"CREATE TRIGGER {name} {when} BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"


def _guards_postgresql() -> Iterator[str]:
    yield (
        "CREATE FUNCTION keyvault_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSED}'; END $$"
    )
    for table in (*_APPEND_ONLY, "event_payload", "log_head"):
        yield _trigger_postgresql(f"{table}_delete", f"BEFORE DELETE ON {table} FOR EACH ROW")
        yield _trigger_postgresql(f"{table}_truncate", f"BEFORE TRUNCATE ON {table}")
    for table in _APPEND_ONLY:
        yield _trigger_postgresql(f"{table}_update", f"BEFORE UPDATE ON {table} FOR EACH ROW")
    erase = f"BEFORE UPDATE ON event_payload FOR EACH ROW WHEN (({_ERASED}) IS NOT TRUE)"
    yield _trigger_postgresql("event_payload_update", erase)
    shrink = "BEFORE UPDATE ON log_head FOR EACH ROW WHEN (NEW.size < OLD.size)"
    yield _trigger_postgresql("log_head_update", shrink)
    yield from _grants()


def _trigger_postgresql(name: str, when: str) -> str:
    return f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION keyvault_refuse()"


def _grants() -> Iterator[str]:
    """One role for logins of the service. Roles belong to the whole server, so it may exist."""
    yield (
        "DO $$ BEGIN CREATE ROLE keyvault_app NOLOGIN; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
    tables = ", ".join(_METADATA.tables)
    yield f"GRANT SELECT ON {tables}, alembic_version TO keyvault_app"
    yield f"GRANT INSERT ON {tables.replace('log_head, ', '')} TO keyvault_app"
    yield "GRANT UPDATE (salt, payload, erased_at) ON event_payload TO keyvault_app"
    changing = "log_head, stream_head, key, approval_request, session, idempotency"
    yield f"GRANT UPDATE ON {changing} TO keyvault_app"
    yield "GRANT DELETE ON wrapped_key, idempotency TO keyvault_app"
