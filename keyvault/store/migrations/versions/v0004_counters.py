"""Originator counters."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "originator_counter",
        Column("series", Text, primary_key=True),
        *(
            Column(name, Text, nullable=False)
            for name in ("party", "originator", "cell_usage", "recipient")
        ),
        *(Column(name, _NUMBER, nullable=False) for name in ("created_at", "issued", "floor")),
    )
    for columns in (["created_at", "series"], ["party", "created_at", "series"]):
        name = "_".join(["ix_originator_counter", *columns])
        op.create_index(name, "originator_counter", columns)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("GRANT SELECT, INSERT, UPDATE ON originator_counter TO keyvault_app")


def downgrade() -> None:
    op.drop_table("originator_counter")
