"""Notices that were sent to people."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "notice",
        Column("key", Text, primary_key=True),
        Column("person", Text, primary_key=True),
        Column("channel", Text, primary_key=True),
        Column("sent_at", _NUMBER, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("GRANT SELECT, INSERT ON notice TO keyvault_app")


def downgrade() -> None:
    op.drop_table("notice")
