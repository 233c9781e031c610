"""Ceremonies and their transcripts."""

from collections.abc import Iterator

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, Text

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_REFUSED = "a ceremony stays on record"
_TABLES = ("ceremony", "ceremony_transcript")


def upgrade() -> None:
    op.create_table(
        "ceremony",
        Column("id", Text, primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("title", "script_sha256", "started_by")),
        Column("script", LargeBinary, nullable=False),
        Column("started_at", _NUMBER, nullable=False),
    )
    op.create_index("ix_ceremony_started_at_id", "ceremony", ["started_at", "id"])
    op.create_table(
        "ceremony_transcript",
        Column("ceremony_id", Text, ForeignKey("ceremony.id"), primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("outcome", "sha256", "closed_by")),
        *(Column(name, _NUMBER, nullable=False) for name in ("deviations", "closed_at")),
        Column("transcript", LargeBinary, nullable=False),
    )
    postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _guards_postgresql() if postgresql else _guards_sqlite():
        op.execute(statement)


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_table(table)


def _guards_sqlite() -> Iterator[str]:
    for table in _TABLES:
        for change in ("UPDATE", "DELETE"):
            refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
            yield f"CREATE TRIGGER {table}_{change.lower()} BEFORE {change} ON {table} {refuse}"


def _guards_postgresql() -> Iterator[str]:
    yield f"GRANT SELECT, INSERT ON {', '.join(_TABLES)} TO keyvault_app"
