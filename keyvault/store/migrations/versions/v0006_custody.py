"""Custody: steps in a key's life that people take, and holds on keys."""

from collections.abc import Iterator

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, Text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_REFUSED = "what was done with a key stays on record"


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "key_step",
        Column("key_id", Text, ForeignKey("key.id"), primary_key=True),
        Column("number", _NUMBER, primary_key=True, autoincrement=False),
        *_texts("step", "actor", "about", "details"),
        Column("at", _NUMBER, nullable=False),
    )
    op.create_index("ix_key_step_key_id_step_about", "key_step", ["key_id", "step", "about"])
    op.create_index("ix_key_step_key_id_at_number", "key_step", ["key_id", "at", "number"])
    op.create_table(
        "key_hold",
        Column("id", Text, primary_key=True),
        Column("key_id", Text, ForeignKey("key.id"), nullable=False),
        *_texts("kind", "reason", "set_by", "lifted_by"),
        Column("set_at", _NUMBER, nullable=False),
        Column("lifted_at", _NUMBER),
    )
    op.create_index("ix_key_hold_key_id_set_at_id", "key_hold", ["key_id", "set_at", "id"])
    op.create_index("ix_wrapped_key_kek_id", "wrapped_key", ["kek_id"])
    postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _guards_postgresql() if postgresql else _guards_sqlite():
        op.execute(statement)


def downgrade() -> None:
    op.drop_index("ix_wrapped_key_kek_id", "wrapped_key")
    op.drop_table("key_hold")
    op.drop_table("key_step")


def _guards_sqlite() -> Iterator[str]:
    for table, change in (("key_step", "UPDATE"), ("key_step", "DELETE"), ("key_hold", "DELETE")):
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        yield f"CREATE TRIGGER {table}_{change.lower()} BEFORE {change} ON {table} {refuse}"


def _guards_postgresql() -> Iterator[str]:
    yield "GRANT SELECT, INSERT ON key_step, key_hold TO keyvault_app"
    yield "GRANT UPDATE (lifted_at, lifted_by) ON key_hold TO keyvault_app"
