"""What the second token's gate signs with its own key: the key that shares are sealed to."""

from alembic import op
from sqlalchemy import Column, LargeBinary

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("restoration", Column("entry_signature", LargeBinary))


def downgrade() -> None:
    with op.batch_alter_table("restoration") as table:
        table.drop_column("entry_signature")
