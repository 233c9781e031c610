"""How often tokens were changed and certificates revoked, in one row instead of a sum over all."""

from alembic import op
from sqlalchemy import BigInteger, CheckConstraint, Column, Integer

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    table = op.create_table(
        "caller_head",
        Column("id", _NUMBER, primary_key=True, autoincrement=False),
        Column("changes", _NUMBER, nullable=False),
        CheckConstraint("id = 1", name="one"),
    )
    op.bulk_insert(table, [{"id": 1, "changes": 0}])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("GRANT SELECT, UPDATE ON caller_head TO keyvault_app")


def downgrade() -> None:
    op.drop_table("caller_head")
