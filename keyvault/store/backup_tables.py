"""Tables of backups and of the keys and shares behind them, beside `keyvault.store.tables`."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Table, Text

from keyvault.store.tables import METADATA
from keyvault.store.tables import _bytes as bytes_
from keyvault.store.tables import _number as number
from keyvault.store.tables import _place as place
from keyvault.store.tables import _text as text

backup_key = Table(
    "backup_key",
    METADATA,
    text("id", key=True),
    text("scope", null=True),  # null: for keys of every scope, and the service's own
    text("supersedes", null=True),
    text("label"),
    text("check_value"),
    text("state"),
    text("made_by"),
    number("threshold"),
    number("share_set"),
    number("made_at"),
    number("destroyed_at", null=True),
)
Index(None, backup_key.c.made_at, backup_key.c.id)
share = Table(
    "share",
    METADATA,
    Column("backup_key_id", Text, ForeignKey(backup_key.c.id), primary_key=True),
    place("number"),
    text("holder"),
    text("share_key"),
    text("fingerprint"),
    text("state"),
    text("place"),
    text("bag"),
    bytes_("envelope"),
    number("changed_at"),
    number("confirmed_at", null=True),
)
Index(None, share.c.holder)
backup = Table(
    "backup",
    METADATA,
    text("id", key=True),
    Column("backup_key_id", Text, ForeignKey(backup_key.c.id), nullable=False),
    text("scope", null=True),
    text("state"),
    text("taken_by"),
    text("sha256"),  # of the whole file
    text("root"),
    text("authority"),
    text("place"),
    text("owner"),
    number("taken_at"),
    number("size"),  # bytes
    number("keys"),
    number("left_out"),
    number("log_size"),
    number("destroyed_at", null=True),
)
Index(None, backup.c.taken_at, backup.c.id)
restoration = Table(
    "restoration",
    METADATA,
    text("id", key=True),  # that of the request
    Column("backup_id", Text, ForeignKey(backup.c.id), nullable=False),
    Column("drill", Boolean, nullable=False),
    text("state"),
    text("begun_by"),
    text("entered"),
    text("report"),
    bytes_("entry"),  # the gate's public key for shares
    number("begun_at"),
    number("done_at", null=True),
    bytes_("entry_signature", null=True),  # of the gate's own key, over its statement of `entry`
)
Index(None, restoration.c.begun_at, restoration.c.id)
