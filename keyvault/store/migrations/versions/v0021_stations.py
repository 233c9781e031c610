"""What desks say of their readers: the last word of each station, and when it was."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "station",
        Column("name", Text, primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("state", "reader", "person", "alarm")),
        *(Column(name, _NUMBER, nullable=False) for name in ("since", "heard_at")),
    )


def downgrade() -> None:
    op.drop_table("station")
