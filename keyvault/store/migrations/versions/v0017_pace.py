"""How far each party is with what it may send to the certification authority at a time."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "submission_pace",
        Column("party", Text, primary_key=True),
        Column("day", Text, nullable=False),
        Column("alone", _NUMBER, nullable=False),
        Column("batch", Text, nullable=False),
        Column("busy_until", _NUMBER, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("submission_pace")
