"""Keys that people carry in and out, by components or in envelopes, and what was handed over."""

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, Text

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "handover",
        Column("request_id", Text, ForeignKey("approval_request.id"), primary_key=True),
        *_texts("command", "scope", "state"),
        *(Column(name, _NUMBER, nullable=False) for name in ("opened_at", "until")),
        Column("statement", LargeBinary, nullable=False),
        Column("signature", LargeBinary, nullable=False),
        Column("transcript", LargeBinary),
        Column("transcript_signature", LargeBinary),
    )
    op.create_index("ix_handover_opened_at_request_id", "handover", ["opened_at", "request_id"])
    op.create_index("ix_handover_state_until", "handover", ["state", "until"])
    op.create_table(
        "handover_part",
        Column("request_id", Text, ForeignKey("handover.request_id"), primary_key=True),
        Column("number", _NUMBER, primary_key=True, autoincrement=False),
        *_texts("person", "session"),
        Column("at", _NUMBER, nullable=False),
        *_texts("cmac", "ecb"),
        Column("bag", Text),
        Column("returned_at", _NUMBER),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("GRANT SELECT, INSERT, UPDATE ON handover, handover_part TO keyvault_app")


def downgrade() -> None:
    op.drop_table("handover_part")
    op.drop_table("handover")
