"""Tables of ceremonies and their transcripts, beside those of `keyvault.store.tables`."""

from sqlalchemy import Column, ForeignKey, Index, Table, Text

from keyvault.store.tables import METADATA, _bytes, _number, _text

ceremony = Table(  # this and its transcripts only ever grow
    "ceremony",
    METADATA,
    _text("id", key=True),
    _text("title"),
    _text("script_sha256"),
    _text("started_by"),
    _bytes("script"),
    _number("started_at"),
)
Index(None, ceremony.c.started_at, ceremony.c.id)
ceremony_transcript = Table(
    "ceremony_transcript",
    METADATA,
    Column("ceremony_id", Text, ForeignKey(ceremony.c.id), primary_key=True),
    _text("outcome"),
    _text("sha256"),
    _text("closed_by"),
    _number("deviations"),
    _number("closed_at"),
    _bytes("transcript"),
)
