"""Keys that wrap backups, the shares of each, backups, and their restorations."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, LargeBinary, Text

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_TABLES = ("backup_key", "share", "backup", "restoration")


def _texts(*names: str, null: bool = False) -> list[Column[str]]:
    return [Column(name, Text, nullable=null) for name in names]


def _numbers(*names: str, null: bool = False) -> list[Column[int]]:
    return [Column(name, _NUMBER, nullable=null) for name in names]


def upgrade() -> None:
    op.create_table(
        "backup_key",
        Column("id", Text, primary_key=True),
        *_texts("scope", "supersedes", null=True),
        *_texts("label", "check_value", "state", "made_by"),
        *_numbers("threshold", "share_set", "made_at"),
        *_numbers("destroyed_at", null=True),
    )
    op.create_index("ix_backup_key_made_at_id", "backup_key", ["made_at", "id"])
    op.create_table(
        "share",
        Column("backup_key_id", Text, ForeignKey("backup_key.id"), primary_key=True),
        Column("number", _NUMBER, primary_key=True, autoincrement=False),
        *_texts("holder", "share_key", "fingerprint", "state", "place", "bag"),
        Column("envelope", LargeBinary, nullable=False),
        *_numbers("changed_at"),
        *_numbers("confirmed_at", null=True),
    )
    op.create_index("ix_share_holder", "share", ["holder"])
    _create_backups()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON {', '.join(_TABLES)} TO keyvault_app")


def _create_backups() -> None:
    op.create_table(
        "backup",
        Column("id", Text, primary_key=True),
        Column("backup_key_id", Text, ForeignKey("backup_key.id"), nullable=False),
        *_texts("scope", null=True),
        *_texts("state", "taken_by", "sha256", "root", "authority", "place", "owner"),
        *_numbers("taken_at", "size", "keys", "left_out", "log_size"),
        *_numbers("destroyed_at", null=True),
    )
    op.create_index("ix_backup_taken_at_id", "backup", ["taken_at", "id"])
    op.create_table(
        "restoration",
        Column("id", Text, primary_key=True),
        Column("backup_id", Text, ForeignKey("backup.id"), nullable=False),
        Column("drill", Boolean, nullable=False),
        *_texts("state", "begun_by", "entered", "report"),
        Column("entry", LargeBinary, nullable=False),
        *_numbers("begun_at"),
        *_numbers("done_at", null=True),
    )
    op.create_index("ix_restoration_begun_at_id", "restoration", ["begun_at", "id"])


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_table(table)
