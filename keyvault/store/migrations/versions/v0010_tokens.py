"""Tokens: what there is, who has it, what people signed about it, and what our CA issued."""

from collections.abc import Iterator

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, Text

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_REFUSED = "what was done with a token stays on record"
_TABLES = (
    *("ca_list", "issued_certificate", "ca_certificate", "token_key", "stock_count"),
    *("token_statement", "token_custody", "token"),
)


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


def _numbers(*names: str, null: bool = False) -> list[Column[int]]:
    return [Column(name, _NUMBER, nullable=null) for name in names]


def _bytes(*names: str, null: bool = False) -> list[Column[bytes]]:
    return [Column(name, LargeBinary, nullable=null) for name in names]


def upgrade() -> None:
    _tokens()
    _people()
    _authority()
    postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _guards_postgresql() if postgresql else _guards_sqlite():
        op.execute(statement)


def _tokens() -> None:
    op.create_table(
        "token",
        Column("id", Text, primary_key=True),
        *_texts("kind", "serial", "model", "profile", "state", "purpose", "custodian", "place"),
        *_texts("seal", "batch", "holder", "job", "facts"),
        Column("replaces", Text),
        *_numbers("version", "created_at", "changed_at"),
        *_numbers("due_at", "expires_at", "used_at", null=True),
    )
    op.create_index("ix_token_model_serial", "token", ["model", "serial"], unique=True)
    op.create_index("ix_token_created_at_id", "token", ["created_at", "id"])
    for name in ("state", "holder", "place"):
        op.create_index(f"ix_token_{name}_created_at_id", "token", [name, "created_at", "id"])
    _ledger()


def _ledger() -> None:
    op.create_table(
        "token_custody",
        Column("token_id", Text, ForeignKey("token.id"), primary_key=True),
        Column("number", _NUMBER, primary_key=True, autoincrement=False),
        *_texts("giver", "taker", "place", "seal", "statement"),
        *_numbers("at"),
    )
    op.create_table(
        "token_key",
        Column("spki_sha256", Text, primary_key=True),
        Column("token_id", Text, ForeignKey("token.id"), nullable=False),
        *_texts("slot"),
        *_bytes("spki"),
        *_numbers("made_at"),
    )
    op.create_index("ix_token_key_token_id_slot", "token_key", ["token_id", "slot"])


def _people() -> None:
    op.create_table(
        "token_statement",
        Column("id", Text, primary_key=True),
        *_texts("step", "token_id", "state", "person", "second", "document", "countersigned"),
        *_numbers("at", "expires_at"),
        *_numbers("settled_at", null=True),
    )
    op.create_index("ix_token_statement_at_id", "token_statement", ["at", "id"])
    op.create_index(
        "ix_token_statement_token_id_at_id", "token_statement", ["token_id", "at", "id"]
    )
    op.create_index("ix_token_statement_state_at_id", "token_statement", ["state", "at", "id"])
    op.create_table(
        "stock_count",
        Column("id", Text, primary_key=True),  # the statement's
        *_texts("place", "counter", "missing", "surplus", "settled_by", "finding"),
        *_numbers("at"),
        *_numbers("settled_at", null=True),
    )
    op.create_index("ix_stock_count_at_id", "stock_count", ["at", "id"])


def _authority() -> None:
    op.create_table(
        "ca_certificate",
        Column("key_id", Text, ForeignKey("key.id"), primary_key=True),
        *_texts("parent", "name", "request"),
        *_bytes("certificate"),
        *_numbers("not_before", "not_after"),
    )
    _issued()
    op.create_table(
        "ca_list",
        Column("issuer", Text, ForeignKey("key.id"), primary_key=True),
        Column("number", _NUMBER, primary_key=True, autoincrement=False),
        *_bytes("crl"),
        *_numbers("this_update", "next_update"),
    )


def _issued() -> None:
    op.create_table(
        "issued_certificate",
        Column("serial", Text, primary_key=True),  # 40 hex digits at most
        *_texts("issuer", "job", "slot", "profile", "subject", "spki_sha256", "token_id", "state"),
        *_bytes("terms"),
        *_bytes("certificate", null=True),
        *_texts("reason", "actor"),
        *_numbers("not_before", "not_after"),
        *_numbers("revoked_at", null=True),
    )
    op.create_index(
        "ix_issued_certificate_job_slot", "issued_certificate", ["job", "slot"], unique=True
    )
    op.create_index("ix_issued_certificate_token_id", "issued_certificate", ["token_id"])
    op.create_index("ix_issued_certificate_spki_sha256", "issued_certificate", ["spki_sha256"])
    op.create_index(
        "ix_issued_certificate_issuer_not_before_serial",
        "issued_certificate",
        ["issuer", "not_before", "serial"],
    )


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)


def _guards_sqlite() -> Iterator[str]:
    both = ("token_custody", "token_key", "ca_certificate", "ca_list")
    one = ("token", "token_statement", "stock_count", "issued_certificate")
    changes = [(name, change) for name in both for change in ("UPDATE", "DELETE")]
    for table, change in (*changes, *((name, "DELETE") for name in one)):
        refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        yield f"CREATE TRIGGER {table}_{change.lower()} BEFORE {change} ON {table} {refuse}"


def _guards_postgresql() -> Iterator[str]:
    yield f"GRANT SELECT, INSERT ON {', '.join(_TABLES)} TO keyvault_app"
    yield "GRANT UPDATE ON token, token_statement, stock_count, issued_certificate TO keyvault_app"
