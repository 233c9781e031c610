"""Indexes for filters that are given together, and for the keys that somebody answers for."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_INDEXES = (
    ("state", "algorithm", "created_at", "id"),
    ("scope", "state", "algorithm", "created_at", "id"),
    ("owner", "protect_until", "id"),
)


def upgrade() -> None:
    for columns in _INDEXES:
        op.create_index(f"ix_key_{'_'.join(columns)}", "key", list(columns))


def downgrade() -> None:
    for columns in _INDEXES:
        op.drop_index(f"ix_key_{'_'.join(columns)}", "key")
