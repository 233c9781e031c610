"""The tables of handovers: keys that people carry in and out. No component is ever in them."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)

from keyvault.store.tables import METADATA

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


handover = Table(
    "handover",
    METADATA,
    Column("request_id", Text, ForeignKey("approval_request.id"), primary_key=True),
    *_texts("command", "scope", "state"),
    Column("opened_at", _NUMBER, nullable=False),
    Column("until", _NUMBER, nullable=False),
    Column("statement", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("transcript", LargeBinary),  # once it has ended, where the gate could still tell
    Column("transcript_signature", LargeBinary),
)
Index(None, handover.c.opened_at, handover.c.request_id)
Index(None, handover.c.state, handover.c.until)

handover_part = Table(
    "handover_part",
    METADATA,
    Column("request_id", Text, ForeignKey(handover.c.request_id), primary_key=True),
    Column("number", _NUMBER, primary_key=True, autoincrement=False),
    *_texts("person", "session"),
    Column("at", _NUMBER, nullable=False),
    *_texts("cmac", "ecb"),
    Column("bag", Text),
    Column("returned_at", _NUMBER),
)
