"""Tables of reconciliations, sealed codes and pace, beside those of `keyvault.store.tables`."""

from sqlalchemy import Column, ForeignKey, Index, Table, Text

from keyvault.store.tables import METADATA, _bytes, _number, _text, key

reconciliation = Table(  # this and who signed it only ever grow
    "reconciliation",
    METADATA,
    _text("id", key=True),
    _text("taken_by"),
    _text("sha256"),
    _number("taken_at"),
    _number("findings"),
    _bytes("report"),  # canonical JSON
)
Index(None, reconciliation.c.taken_at, reconciliation.c.id)
reconciliation_signature = Table(
    "reconciliation_signature",
    METADATA,
    Column("reconciliation", Text, ForeignKey(reconciliation.c.id), primary_key=True),
    _text("person", key=True),
    _number("signed_at"),
    _bytes("statement"),
    _bytes("signature"),
)
emergency_code = Table(  # never a code, only what it is known by
    "emergency_code",
    METADATA,
    _text("id", key=True),
    _text("person"),
    _text("verifier"),
    _text("use"),  # what came of it: empty while it is sealed
    _number("made_at"),
    _number("until"),
    _number("used_at", null=True),
)
Index(None, emergency_code.c.person, emergency_code.c.made_at, emergency_code.c.id)

# Of the register of keys: filters given together, and what somebody answers for.
Index(None, key.c.state, key.c.algorithm, key.c.created_at, key.c.id)
Index(None, key.c.scope, key.c.state, key.c.algorithm, key.c.created_at, key.c.id)
Index(None, key.c.owner, key.c.protect_until, key.c.id)
submission_pace = Table(  # how far a party is with what it may send to the authority at a time
    "submission_pace",
    METADATA,
    _text("party", key=True),
    _text("day"),  # of UTC, on which so many requests were sent alone
    _number("alone"),
    _text("batch"),  # whose requests are on their way, or empty
    _number("busy_until"),
)
