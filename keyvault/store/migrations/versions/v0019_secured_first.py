"""Issuing jobs change PIN and PUK before they certify: where the jobs that are under way stand now.

A step that is taken once more finds its work done. So a job goes back to the last step that both
orders have in front of it, and loses nothing.
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_BACK = (
    "UPDATE issue_job SET step = 'keyed' WHERE step IN ({})"
    " AND standing IN ('open', 'interrupted', 'awaiting')"
)


def upgrade() -> None:
    """Of these PIN and PUK are the factory's. `secured` was the last of the four."""
    op.execute(_BACK.format("'certified', 'loaded'"))


def downgrade() -> None:
    """Of these not everything is certified. The others change PIN and PUK to the same ones."""
    op.execute(_BACK.format("'secured'"))
