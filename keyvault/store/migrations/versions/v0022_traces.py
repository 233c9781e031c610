"""What went to tokens and came back: a row for each session with one, see docs/formats.md."""

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, Text

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "issue_trace",
        Column("id", Text, primary_key=True),
        Column("job_id", Text, ForeignKey("issue_job.id"), nullable=False),
        Column("lines", Text, nullable=False),
        *(Column(name, _NUMBER, nullable=False) for name in ("exchanges", "began_at")),
    )
    op.create_index("ix_issue_trace_job_id_began_at", "issue_trace", ["job_id", "began_at"])
    op.create_index("ix_issue_trace_began_at", "issue_trace", ["began_at"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON issue_trace TO keyvault_app")


def downgrade() -> None:
    op.drop_table("issue_trace")
