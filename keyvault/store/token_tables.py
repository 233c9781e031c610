"""Tables of tokens, of what people signed about them, and of what our CA issued."""

from sqlalchemy import Column, ForeignKey, Index, Table

from keyvault.store.tables import METADATA, _bytes, _number, _place, _text

token = Table(
    "token",
    METADATA,
    _text("id", key=True),
    *map(_text, ("kind", "serial", "model", "profile", "state", "purpose", "custodian", "place")),
    *map(_text, ("seal", "batch", "holder", "job", "facts")),
    _text("replaces", null=True),
    *map(_number, ("version", "created_at", "changed_at")),
    *(_number(name, null=True) for name in ("due_at", "expires_at", "used_at")),
)
Index(None, token.c.model, token.c.serial, unique=True)
Index(None, token.c.created_at, token.c.id)
for _filter in ("state", "holder", "place"):
    Index(None, token.c[_filter], token.c.created_at, token.c.id)

token_custody = Table(  # who had a token from when on; only ever added to
    "token_custody",
    METADATA,
    Column("token_id", ForeignKey("token.id"), primary_key=True),
    _place("number"),
    *map(_text, ("giver", "taker", "place", "seal", "statement")),
    _number("at"),
)
token_key = Table(  # no two tokens ever have the same key
    "token_key",
    METADATA,
    _text("spki_sha256", key=True),
    Column("token_id", ForeignKey("token.id"), nullable=False),
    _text("slot"),
    _bytes("spki"),
    _number("made_at"),
)
Index(None, token_key.c.token_id, token_key.c.slot)

token_statement = Table(  # what one person signed, and the second if it takes two
    "token_statement",
    METADATA,
    _text("id", key=True),
    *map(_text, ("step", "token_id", "state", "person", "second", "document", "countersigned")),
    *map(_number, ("at", "expires_at")),
    _number("settled_at", null=True),
)
Index(None, token_statement.c.at, token_statement.c.id)
for _filter in ("token_id", "state"):
    Index(None, token_statement.c[_filter], token_statement.c.at, token_statement.c.id)

stock_count = Table(
    "stock_count",
    METADATA,
    _text("id", key=True),
    *map(_text, ("place", "counter", "missing", "surplus", "settled_by", "finding")),
    _number("at"),
    _number("settled_at", null=True),
)
Index(None, stock_count.c.at, stock_count.c.id)

ca_certificate = Table(  # our own certification authorities, by the key that signs for them
    "ca_certificate",
    METADATA,
    Column("key_id", ForeignKey("key.id"), primary_key=True),
    *map(_text, ("parent", "name", "request")),
    _bytes("certificate"),
    *map(_number, ("not_before", "not_after")),
)
issued_certificate = Table(  # the row is there before anything is signed
    "issued_certificate",
    METADATA,
    _text("serial", key=True),
    *map(_text, ("issuer", "job", "slot", "profile", "subject", "spki_sha256", "token_id")),
    _text("state"),
    _bytes("terms"),
    _bytes("certificate", null=True),
    *map(_text, ("reason", "actor")),
    *map(_number, ("not_before", "not_after")),
    _number("revoked_at", null=True),
)
Index(None, issued_certificate.c.job, issued_certificate.c.slot, unique=True)
for _filter in ("token_id", "spki_sha256"):
    Index(None, issued_certificate.c[_filter])
Index(
    None,
    issued_certificate.c.issuer,
    issued_certificate.c.not_before,
    issued_certificate.c.serial,
)
ca_list = Table(  # every list of what is revoked that was ever signed
    "ca_list",
    METADATA,
    Column("issuer", ForeignKey("key.id"), primary_key=True),
    _place("number"),
    _bytes("crl"),
    *map(_number, ("this_update", "next_update")),
)
