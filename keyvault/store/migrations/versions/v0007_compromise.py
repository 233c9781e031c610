"""Cases of compromised keys, the notices sent of them, and certificates of destruction."""

from collections.abc import Iterator

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, Text

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_REFUSED = "what was done with a key stays on record"
_TABLES = ("compromise_case", "compromise_notice", "destruction")


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "compromise_case",
        Column("key_id", Text, ForeignKey("key.id"), primary_key=True),
        *_texts("declared_by", "reason"),
        *(Column(name, _NUMBER, nullable=False) for name in ("known_at", "declared_at")),
    )
    op.create_table(
        "compromise_notice",
        Column("id", Text, primary_key=True),
        Column("key_id", Text, ForeignKey("key.id"), nullable=False),
        *_texts("body", "reference", "actor"),
        Column("sent_at", _NUMBER, nullable=False),
    )
    op.create_index(
        "ix_compromise_notice_key_id_sent_at_id", "compromise_notice", ["key_id", "sent_at", "id"]
    )
    _create_destruction()
    op.create_index("ix_key_state_protect_until", "key", ["state", "protect_until"])
    postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _guards_postgresql() if postgresql else _guards_sqlite():
        op.execute(statement)


def _create_destruction() -> None:
    op.create_table(
        "destruction",
        Column("key_id", Text, ForeignKey("key.id"), primary_key=True),
        Column("issued_at", _NUMBER, nullable=False),
        *(Column(name, LargeBinary, nullable=False) for name in ("statement", "signature")),
    )


def downgrade() -> None:
    op.drop_index("ix_key_state_protect_until", "key")
    for table in reversed(_TABLES):
        op.drop_table(table)


def _guards_sqlite() -> Iterator[str]:
    for table in _TABLES:
        for change in ("UPDATE", "DELETE"):
            refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
            yield f"CREATE TRIGGER {table}_{change.lower()} BEFORE {change} ON {table} {refuse}"


def _guards_postgresql() -> Iterator[str]:
    yield f"GRANT SELECT, INSERT ON {', '.join(_TABLES)} TO keyvault_app"
