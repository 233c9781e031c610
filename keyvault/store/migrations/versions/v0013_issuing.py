"""Issuing jobs: how far each token has come on its way from factory to holder."""

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, Text

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "issue_job",
        Column("id", Text, primary_key=True),
        Column("token_id", Text, ForeignKey("token.id"), nullable=False),
        *(
            Column(name, Text, nullable=False)
            for name in ("batch", "kind", "step", "standing", "station", "actor", "facts")
        ),
        *(
            Column(name, _NUMBER, nullable=False)
            for name in ("version", "resumes", "created_at", "changed_at")
        ),
    )
    for name, columns in (
        ("ix_issue_job_token_id", ["token_id"]),
        ("ix_issue_job_created_at_id", ["created_at", "id"]),
        ("ix_issue_job_standing_created_at_id", ["standing", "created_at", "id"]),
        ("ix_issue_job_batch_created_at_id", ["batch", "created_at", "id"]),
    ):
        op.create_index(name, "issue_job", columns)


def downgrade() -> None:
    op.drop_table("issue_job")
