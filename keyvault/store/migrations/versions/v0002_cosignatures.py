"""Cosignatures of outside witnesses, beside the checkpoints that they cover."""

from collections.abc import Iterator

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, Text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_REFUSED = "the log only grows: nobody changes or deletes its rows"


def upgrade() -> None:
    op.create_table(
        "cosignature",
        Column("size", _NUMBER, ForeignKey("checkpoint.size"), primary_key=True),
        Column("witness", Text, primary_key=True),
        Column("line", Text, nullable=False),
    )
    op.create_index("ix_cosignature_witness_size", "cosignature", ["witness", "size"])
    postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _guards_postgresql() if postgresql else _guards_sqlite():
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("cosignature")


def _guards_sqlite() -> Iterator[str]:
    same = "SELECT 1 FROM cosignature WHERE size = NEW.size AND witness = NEW.witness"
    for name, when in (
        ("delete", "BEFORE DELETE ON cosignature"),
        ("update", "BEFORE UPDATE ON cosignature"),
        ("replace", f"BEFORE INSERT ON cosignature WHEN EXISTS ({same})"),
    ):
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        yield f"CREATE TRIGGER cosignature_{name} {when} {refuse}"


def _guards_postgresql() -> Iterator[str]:
    for name, when in (
        ("delete", "BEFORE DELETE ON cosignature FOR EACH ROW"),
        ("truncate", "BEFORE TRUNCATE ON cosignature"),
        ("update", "BEFORE UPDATE ON cosignature FOR EACH ROW"),
    ):
        yield f"CREATE TRIGGER cosignature_{name} {when} EXECUTE FUNCTION keyvault_refuse()"
    yield "GRANT SELECT, INSERT ON cosignature TO keyvault_app"
