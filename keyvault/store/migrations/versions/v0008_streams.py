"""Time stamps over checkpoints, and how far each stream out has come."""

from collections.abc import Iterator

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, Text

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_REFUSED = "the log only grows: nobody changes or deletes its rows"


def upgrade() -> None:
    op.create_table(
        "time_stamp",
        Column("size", _NUMBER, ForeignKey("checkpoint.size"), primary_key=True),
        Column("tsa", Text, primary_key=True),
        Column("reply", LargeBinary, nullable=False),
        Column("stamped_at", _NUMBER, nullable=False),
    )
    op.create_index("ix_time_stamp_tsa_size", "time_stamp", ["tsa", "size"])
    op.create_table(
        "sink",
        Column("name", Text, primary_key=True),
        Column("position", _NUMBER, nullable=False),
    )
    postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _guards_postgresql() if postgresql else _guards_sqlite():
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("sink")
    op.drop_table("time_stamp")


def _guards_sqlite() -> Iterator[str]:
    same = "SELECT 1 FROM time_stamp WHERE size = NEW.size AND tsa = NEW.tsa"
    for name, when in (
        ("delete", "BEFORE DELETE ON time_stamp"),
        ("update", "BEFORE UPDATE ON time_stamp"),
        ("replace", f"BEFORE INSERT ON time_stamp WHEN EXISTS ({same})"),
    ):
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        yield f"CREATE TRIGGER time_stamp_{name} {when} {refuse}"


def _guards_postgresql() -> Iterator[str]:
    for name, when in (
        ("delete", "BEFORE DELETE ON time_stamp FOR EACH ROW"),
        ("truncate", "BEFORE TRUNCATE ON time_stamp"),
        ("update", "BEFORE UPDATE ON time_stamp FOR EACH ROW"),
    ):
        yield f"CREATE TRIGGER time_stamp_{name} {when} EXECUTE FUNCTION keyvault_refuse()"
    yield "GRANT SELECT, INSERT ON time_stamp, sink TO keyvault_app"
    yield "GRANT UPDATE ON sink TO keyvault_app"
