"""Every table, once, for SQLite and PostgreSQL.

Times are microseconds since 1970 UTC or, in the log, milliseconds; ids are the text of a UUID;
documents are canonical JSON.

The log's tables (event, event_payload, tile, checkpoint, cosignature, time_stamp, authority_record)
only ever grow: triggers and database roles say so, see migrations.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
# SQLite counts rows in 64 bits under the name INTEGER, and only under that name.
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, *, null: bool = False, key: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null, primary_key=key)


def _number(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, _NUMBER, nullable=null)


def _place(name: str) -> Column[int]:
    """A number that we give ourselves: never one from a sequence, which would leave gaps."""
    return Column(name, _NUMBER, primary_key=True, autoincrement=False)


def _bytes(name: str, *, null: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=null)


# The log -------------------------------------------------------------------------------------

event = Table(
    "event",
    METADATA,
    _place("idx"),
    _bytes("leaf"),  # the canonical bytes that were hashed
    _bytes("leaf_hash"),
    # Copies of header fields, to be found by. The sealer compares them with the leaf.
    _text("type"),
    _text("outcome"),
    _text("stream"),
    _text("actor"),
    _text("scope"),
    _number("time_ms"),
)
# One for each filter that is offered, in the order of its pages.
Index(None, event.c.time_ms, event.c.idx)
for _filter in ("type", "outcome", "stream", "actor", "scope"):
    Index(None, event.c[_filter], event.c.time_ms, event.c.idx)

event_payload = Table(  # apart from its event, so that it can be erased and the leaf still proves
    "event_payload",
    METADATA,
    _place("idx"),
    _bytes("salt", null=True),
    _bytes("payload", null=True),
    _number("erased_at", null=True),
)
stream_head = Table(  # the next number of every stream, actor and node
    "stream_head",
    METADATA,
    _text("name", key=True),
    _number("next"),
)
log_head = Table(  # one row, locked last by every transaction that changes anything
    "log_head",
    METADATA,
    _place("id"),
    _number("size"),
    _bytes("peaks"),
    _bytes("root"),
    _text("checkpoint"),  # "size:root8" of the newest one, or empty
    _text("authority"),  # first 16 hex of the newest record's hash
    _number("latest_ms"),  # the latest time that an event has, for clocks that run behind
    CheckConstraint("id = 1", name="one"),
)
caller_head = Table(  # one row: how often tokens were changed and certificates revoked
    "caller_head",
    METADATA,
    _place("id"),
    _number("changes"),
    CheckConstraint("id = 1", name="one"),
)
tile = Table(  # full ones only: 256 hashes of 32 bytes
    "tile",
    METADATA,
    _place("level"),
    _place("number"),
    _bytes("hashes"),
)
checkpoint = Table(
    "checkpoint",
    METADATA,
    _place("size"),
    _text("note"),
    _number("signed_at"),
)
cosignature = Table(
    "cosignature",
    METADATA,
    Column("size", _NUMBER, ForeignKey(checkpoint.c.size), primary_key=True),
    _text("witness", key=True),  # its verifier key
    _text("line"),
)
Index(None, cosignature.c.witness, cosignature.c.size)
time_stamp = Table(
    "time_stamp",
    METADATA,
    Column("size", _NUMBER, ForeignKey(checkpoint.c.size), primary_key=True),
    _text("tsa", key=True),
    _bytes("reply"),  # TimeStampResp of RFC 3161 over the checkpoint's note, as it came
    _number("stamped_at"),  # by the authority's clock
)
Index(None, time_stamp.c.tsa, time_stamp.c.size)
sink = Table(  # how many events of the log each stream out has taken
    "sink",
    METADATA,
    _text("name", key=True),
    _number("position"),
)
authority_record = Table(
    "authority_record",
    METADATA,
    _place("number"),
    _text("document"),
)

# Keys and requests ---------------------------------------------------------------------------

key = Table(
    "key",
    METADATA,
    _text("id", key=True),
    _text("scope"),
    _text("label"),
    _text("algorithm"),
    _text("usage"),
    _text("key_class"),
    _text("residence"),
    _text("verify"),
    Column("extractable", Boolean, nullable=False),
    _text("state"),
    _number("version"),
    _number("created_at"),
    _number("protect_until"),
    _number("process_until"),
    _bytes("public_key"),
    _text("check_value"),
    _number("active_from", null=True),
    _number("compromised_at", null=True),
    _number("destroyed_at", null=True),
    _text("owner"),
    _text("supersedes", null=True),
)
Index(None, key.c.supersedes)
Index(None, key.c.state, key.c.protect_until)
Index(None, key.c.created_at, key.c.id)
Index(None, key.c.scope, key.c.created_at, key.c.id)
for _filter in ("state", "algorithm"):  # a system sees one scope only, so with it too
    Index(None, key.c[_filter], key.c.created_at, key.c.id)
    Index(None, key.c.scope, key.c[_filter], key.c.created_at, key.c.id)
# Keys of one label are searched by what else they have to be, without reading their rows.
_more = key.c.created_at, key.c.id, key.c.state, key.c.algorithm
Index(None, key.c.label, *_more)
Index(None, key.c.scope, key.c.label, *_more)

wrapped_key = Table(
    "wrapped_key",
    METADATA,
    Column("key_id", Text, ForeignKey(key.c.id), primary_key=True),
    _text("label"),
    _text("algorithm"),
    _text("usage"),
    Column("extractable", Boolean, nullable=False),
    Column("trusted", Boolean, nullable=False),
    _bytes("blob"),
    _bytes("kek_id"),
    _bytes("mac_key_id"),
    _bytes("mac"),
    _bytes("public_key"),
)
Index(None, wrapped_key.c.kek_id)
approval_request = Table(
    "approval_request",
    METADATA,
    _text("id", key=True),
    _text("scope", null=True),  # null for what concerns every scope
    _text("state"),
    _number("version"),
    _text("requester"),
    _number("requested_at"),
    _text("document"),
)
Index(None, approval_request.c.requested_at, approval_request.c.id)
for _filter in ("state", "requester", "scope"):
    Index(
        None,
        approval_request.c[_filter],
        approval_request.c.requested_at,
        approval_request.c.id,
    )
approval = Table(
    "approval",
    METADATA,
    Column("request_id", Text, ForeignKey(approval_request.c.id), primary_key=True),
    _text("approver", key=True),
    _text("document"),
)

# Custody -------------------------------------------------------------------------------------

key_step = Table(  # only ever grows
    "key_step",
    METADATA,
    Column("key_id", Text, ForeignKey(key.c.id), primary_key=True),
    _place("number"),
    _text("step"),
    _text("actor"),
    _text("about"),  # the target, or the certificate
    _text("details"),
    _number("at"),
)
Index(None, key_step.c.key_id, key_step.c.step, key_step.c.about)
Index(None, key_step.c.key_id, key_step.c.at, key_step.c.number)
key_hold = Table(
    "key_hold",
    METADATA,
    _text("id", key=True),
    Column("key_id", Text, ForeignKey(key.c.id), nullable=False),
    _text("kind"),
    _text("reason"),
    _text("set_by"),
    _text("lifted_by"),
    _number("set_at"),
    _number("lifted_at", null=True),
)
Index(None, key_hold.c.key_id, key_hold.c.set_at, key_hold.c.id)
compromise_case = Table(  # this and those below only ever grow
    "compromise_case",
    METADATA,
    Column("key_id", Text, ForeignKey(key.c.id), primary_key=True),
    _text("declared_by"),
    _text("reason"),
    _number("known_at"),
    _number("declared_at"),
)
compromise_notice = Table(
    "compromise_notice",
    METADATA,
    _text("id", key=True),
    Column("key_id", Text, ForeignKey(key.c.id), nullable=False),
    _text("body"),
    _text("reference"),
    _text("actor"),
    _number("sent_at"),
)
Index(None, compromise_notice.c.key_id, compromise_notice.c.sent_at, compromise_notice.c.id)
destruction = Table(
    "destruction",
    METADATA,
    Column("key_id", Text, ForeignKey(key.c.id), primary_key=True),
    _number("issued_at"),
    _bytes("statement"),
    _bytes("signature"),
)

# Certificates --------------------------------------------------------------------------------

certificate = Table(
    "certificate",
    METADATA,
    _text("id", key=True),
    _text("kind"),
    _text("state"),
    _text("spki_sha256"),
    _text("subject"),
    _text("profile"),
    _text("interface"),
    _text("system"),
    _text("issuer"),
    _text("serial"),
    _text("reference"),
    _text("reason"),
    _number("version"),
    _number("created_at"),
    _text("scope", null=True),
    Column("key_id", Text, ForeignKey(key.c.id)),
    # The key while its request is open, so that no key ever has two: null is like no other.
    Column("open_key", Text, unique=True),
    _text("batch", null=True),
    _bytes("csr"),
    _bytes("certificate"),
    _text("subject_sha256", null=True),  # of what may issue: an answer names its issuer by it
    _number("not_before", null=True),
    _number("not_after", null=True),
    _number("received_at", null=True),
    _number("decide_until", null=True),  # while it is issued and nobody has decided
    Column("overdue", Boolean, nullable=False),
)
Index(None, certificate.c.created_at, certificate.c.id)
for _filter in ("scope", "state", "kind", "key_id"):
    Index(None, certificate.c[_filter], certificate.c.created_at, certificate.c.id)
Index(
    None,
    certificate.c.batch,
    certificate.c.state,
    certificate.c.created_at,
    certificate.c.id,
)
Index(None, certificate.c.not_after, certificate.c.id)
for _filter in ("spki_sha256", "subject_sha256", "decide_until"):
    Index(None, certificate.c[_filter])

interface_claim = Table(  # one interface for a key, and for a system's name, for ever
    "interface_claim",
    METADATA,
    _text("subject", key=True),  # key:<id> or system:<name>
    _text("scope"),
    _text("interface"),
)

# Agreement -----------------------------------------------------------------------------------

originator_counter = Table(
    "originator_counter",
    METADATA,
    _text("series", key=True),
    _text("party"),
    _text("originator"),
    _text("cell_usage"),
    _text("recipient"),  # of top-ups; empty for all other messages
    _number("created_at"),
    _number("issued"),  # the highest number given, 0 for none
    _number("floor"),  # up to here none is given or used any more
)
Index(None, originator_counter.c.created_at, originator_counter.c.series)
Index(
    None,
    originator_counter.c.party,
    originator_counter.c.created_at,
    originator_counter.c.series,
)

# Sessions and repeated calls -----------------------------------------------------------------

session = Table(
    "session",
    METADATA,
    _text("spki_sha256", key=True),
    _text("person"),
    _number("until"),
    _number("opened_at"),
    Column("closed", Boolean, nullable=False),
)
idempotency = Table(
    "idempotency",
    METADATA,
    _text("principal", key=True),
    _text("key", key=True),
    _bytes("request_hash"),
    _text("outcome", null=True),  # null while the first call is under way
)

# Notices -------------------------------------------------------------------------------------

notice = Table(  # those that were sent
    "notice",
    METADATA,
    _text("key", key=True),
    _text("person", key=True),
    _text("channel", key=True),
    _number("sent_at"),
)
