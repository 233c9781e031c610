"""Reconciliations with who signed them, and sealed codes for emergencies."""

from collections.abc import Iterator

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, Text

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_REFUSED = "what was found and who signed it stays on record"
_TABLES = ("reconciliation", "reconciliation_signature")


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "reconciliation",
        Column("id", Text, primary_key=True),
        *_texts("taken_by", "sha256"),
        Column("taken_at", _NUMBER, nullable=False),
        Column("findings", _NUMBER, nullable=False),
        Column("report", LargeBinary, nullable=False),
    )
    op.create_index("ix_reconciliation_taken_at_id", "reconciliation", ["taken_at", "id"])
    op.create_table(
        "reconciliation_signature",
        Column("reconciliation", Text, ForeignKey("reconciliation.id"), primary_key=True),
        Column("person", Text, primary_key=True),
        Column("signed_at", _NUMBER, nullable=False),
        *(Column(name, LargeBinary, nullable=False) for name in ("statement", "signature")),
    )
    _codes()
    postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _guards_postgresql() if postgresql else _guards_sqlite():
        op.execute(statement)


def _codes() -> None:
    op.create_table(
        "emergency_code",
        Column("id", Text, primary_key=True),
        *_texts("person", "verifier", "use"),
        *(Column(name, _NUMBER, nullable=False) for name in ("made_at", "until")),
        Column("used_at", _NUMBER),
    )
    op.create_index(
        "ix_emergency_code_person_made_at_id", "emergency_code", ["person", "made_at", "id"]
    )


def downgrade() -> None:
    op.drop_table("emergency_code")
    for table in reversed(_TABLES):
        op.drop_table(table)


def _guards_sqlite() -> Iterator[str]:
    for table in _TABLES:
        for change in ("UPDATE", "DELETE"):
            refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
            yield f"CREATE TRIGGER {table}_{change.lower()} BEFORE {change} ON {table} {refuse}"


def _guards_postgresql() -> Iterator[str]:
    yield f"GRANT SELECT, INSERT ON {', '.join(_TABLES)}, emergency_code TO keyvault_app"
    yield "GRANT UPDATE ON emergency_code TO keyvault_app"
