"""Certificates: requests of our keys, what came of them, and others' that are watched."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, LargeBinary, Text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_TEXTS = (
    *("kind", "state", "spki_sha256", "subject", "profile", "interface", "system", "issuer"),
    *("serial", "reference", "reason"),
)
_TIMES = ("not_before", "not_after", "received_at", "decide_until")
_INDEXES = {
    "ix_certificate_created_at_id": ["created_at", "id"],
    "ix_certificate_scope_created_at_id": ["scope", "created_at", "id"],
    "ix_certificate_state_created_at_id": ["state", "created_at", "id"],
    "ix_certificate_kind_created_at_id": ["kind", "created_at", "id"],
    "ix_certificate_key_id_created_at_id": ["key_id", "created_at", "id"],
    "ix_certificate_batch_state_created_at_id": ["batch", "state", "created_at", "id"],
    "ix_certificate_not_after_id": ["not_after", "id"],
    "ix_certificate_spki_sha256": ["spki_sha256"],
    "ix_certificate_subject_sha256": ["subject_sha256"],
    "ix_certificate_decide_until": ["decide_until"],
}


def upgrade() -> None:
    op.create_table(
        "certificate",
        Column("id", Text, primary_key=True),
        *(Column(name, Text, nullable=False) for name in _TEXTS),
        Column("version", _NUMBER, nullable=False),
        Column("created_at", _NUMBER, nullable=False),
        Column("scope", Text),
        Column("key_id", Text, ForeignKey("key.id")),
        Column("open_key", Text, unique=True),
        Column("batch", Text),
        Column("csr", LargeBinary, nullable=False),
        Column("certificate", LargeBinary, nullable=False),
        Column("subject_sha256", Text),
        *(Column(name, _NUMBER) for name in _TIMES),
        Column("overdue", Boolean, nullable=False),
    )
    for name, columns in _INDEXES.items():
        op.create_index(name, "certificate", columns)
    _add_claims()


def _add_claims() -> None:
    op.create_table(
        "interface_claim",
        Column("subject", Text, primary_key=True),
        Column("scope", Text, nullable=False),
        Column("interface", Text, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("GRANT SELECT, INSERT, UPDATE ON certificate TO keyvault_app")
        op.execute("GRANT SELECT, INSERT ON interface_claim TO keyvault_app")


def downgrade() -> None:
    op.drop_table("interface_claim")
    op.drop_table("certificate")
