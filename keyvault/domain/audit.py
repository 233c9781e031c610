"""Audit events: a header in clear, a payload committed with salt, a leaf that is hashed.

The leaf exists before its position: the index is proved by the tree and stands in no leaf.
"""

import hashlib
from base64 import b64encode
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from keyvault.domain.canonical import Document, Json, canonical, encoded
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.scopes import Scope

LEAF_LIMIT = 65_535  # bytes: the length prefix of a tlog-tiles entry has 16 bits
PAYLOAD_LIMIT = 262_144  # bytes
SALT_SIZE = 16  # bytes


class EventType(StrEnum):
    """The closed list. A test holds it against docs/events.md."""

    AUTHORITY_CHANGED = "AUTHORITY.CHANGED"
    AUTHORITY_REJECTED = "AUTHORITY.REJECTED"  # its records are not those that were signed
    AUTHORITY_RECOVERED = "AUTHORITY.RECOVERED"
    APPROVAL_REQUESTED = "APPROVAL.REQUESTED"
    APPROVAL_GIVEN = "APPROVAL.GIVEN"
    APPROVAL_REFUSED = "APPROVAL.REFUSED"
    APPROVAL_REJECTED = "APPROVAL.REJECTED"  # an approval that did not count, and why
    EXECUTION_REFUSED = "EXECUTION.REFUSED"  # a request that could not be carried out, and why
    APPROVAL_CANCELLED = "APPROVAL.CANCELLED"
    APPROVAL_EXPIRED = "APPROVAL.EXPIRED"
    KEY_GENERATED = "KEY.GENERATED"
    KEY_IMPORTED = "KEY.IMPORTED"
    KEY_EXPORTED = "KEY.EXPORTED"
    HANDOVER_OPENED = "HANDOVER.OPENED"
    HANDOVER_DELIVERED = "HANDOVER.DELIVERED"
    HANDOVER_COLLECTED = "HANDOVER.COLLECTED"
    HANDOVER_REFUSED = "HANDOVER.REFUSED"
    HANDOVER_ABORTED = "HANDOVER.ABORTED"
    HANDOVER_EXPIRED = "HANDOVER.EXPIRED"
    HANDOVER_LOST = "HANDOVER.LOST"
    BAG_SEALED = "BAG.SEALED"
    BAG_RETURNED = "BAG.RETURNED"
    BAG_MISMATCHED = "BAG.MISMATCHED"
    KEY_REQUESTED = "KEY.REQUESTED"
    KEY_REGISTERED = "KEY.REGISTERED"
    KEY_LABELLED = "KEY.LABELLED"
    KEY_DISTRIBUTED = "KEY.DISTRIBUTED"
    KEY_INSTALLED = "KEY.INSTALLED"
    KEY_RENEWED = "KEY.RENEWED"
    KEY_HOLD_SET = "KEY.HOLD_SET"
    KEY_HOLD_LIFTED = "KEY.HOLD_LIFTED"
    KEY_SUPERSEDED = "KEY.SUPERSEDED"
    KEY_ACTIVATED = "KEY.ACTIVATED"
    KEY_SUSPENDED = "KEY.SUSPENDED"
    KEY_RESUMED = "KEY.RESUMED"
    KEY_DEACTIVATED = "KEY.DEACTIVATED"
    KEY_COMPROMISE_DECLARED = "KEY.COMPROMISE_DECLARED"
    KEY_IMPACT_LISTED = "KEY.IMPACT_LISTED"
    KEY_NOTICE_SENT = "KEY.NOTICE_SENT"
    KEY_DESTROYED = "KEY.DESTROYED"
    KEY_DESTRUCTION_CERTIFIED = "KEY.DESTRUCTION_CERTIFIED"
    LOG_RECOVERED = "LOG.RECOVERED"  # it goes on from an older copy, in a new epoch
    KEY_BACKED_UP = "KEY.BACKED_UP"
    KEY_RESTORED = "KEY.RESTORED"
    KEY_DRILLED = "KEY.DRILLED"
    BACKUP_KEY_MADE = "BACKUP.KEY_MADE"
    BACKUP_KEY_DESTROYED = "BACKUP.KEY_DESTROYED"
    BACKUP_RESTORATION_BEGUN = "BACKUP.RESTORATION_BEGUN"
    BACKUP_DESTROYED = "BACKUP.DESTROYED"
    SHARE_CREATED = "SHARE.CREATED"
    SHARE_OPENED = "SHARE.OPENED"
    SHARE_ENTERED = "SHARE.ENTERED"
    SHARE_MOVED = "SHARE.MOVED"  # confirmed, returned or lost: where it is, and in which bag
    SHARE_DESTROYED = "SHARE.DESTROYED"
    KEY_USED = "KEY.USED"
    KEY_USE_DENIED = "KEY.USE_DENIED"
    KEY_USE_ALLOWED = "KEY.USE_ALLOWED"
    KEY_RECONCILED = "KEY.RECONCILED"
    RECONCILIATION_TAKEN = "RECONCILIATION.TAKEN"
    RECONCILIATION_SIGNED = "RECONCILIATION.SIGNED"
    EMERGENCY_CODE_MADE = "EMERGENCY.CODE_MADE"
    EMERGENCY_CODE_WITHDRAWN = "EMERGENCY.CODE_WITHDRAWN"
    KEK_ROTATED = "KEK.ROTATED"
    KEK_REWRAPPED = "KEK.REWRAPPED"
    KEK_RETIRED = "KEK.RETIRED"
    REGISTER_EXPORTED = "REGISTER.EXPORTED"
    COUNTER_ADVANCED = "COUNTER.ADVANCED"
    COUNTER_FLOOR_RAISED = "COUNTER.FLOOR_RAISED"
    COUNTER_REGRESSION_BLOCKED = "COUNTER.REGRESSION_BLOCKED"
    CSR_BUILT = "CSR.BUILT"
    CSR_SUBMITTED = "CSR.SUBMITTED"
    CSR_REJECTED = "CSR.REJECTED"
    CSR_WITHDRAWN = "CSR.WITHDRAWN"
    CERT_RECEIVED = "CERT.RECEIVED"
    CERT_ACCEPTED = "CERT.ACCEPTED"
    CERT_REJECTED = "CERT.REJECTED"
    CERT_REVOKED = "CERT.REVOKED"
    CERT_EXPIRED = "CERT.EXPIRED"
    CERT_OVERDUE = "CERT.OVERDUE"
    CERT_WATCHED = "CERT.WATCHED"
    CERT_ISSUED = "CERT.ISSUED"
    CRL_ISSUED = "CRL.ISSUED"
    CRL_STALE = "CRL.STALE"
    CA_CERTIFIED = "CA.CERTIFIED"
    SIGNER_CERTIFIED = "CA.SIGNER_CERTIFIED"
    ISSUE_ORDERED = "ISSUE.ORDERED"
    ISSUE_STEP = "ISSUE.STEP"
    ISSUE_STOPPED = "ISSUE.STOPPED"  # interrupted, quarantined or abandoned, and why
    ISSUE_DONE = "ISSUE.DONE"
    ISSUE_REKEYED = "ISSUE.REKEYED"
    STATION_REPORTED = "STATION.REPORTED"  # what a desk says of its reader is another thing now
    STATION_FAILED = "STATION.FAILED"  # with a job in work, and for too long
    STATION_RECOVERED = "STATION.RECOVERED"
    PIN_MAILED = "PIN.MAILED"
    PIN_CHOSEN = "PIN.CHOSEN"  # by its holder, and what it was sent with is dead
    PUK_SPENT = "PUK.SPENT"  # it was used where others may have seen it
    TOKEN_STOCKED = "TOKEN.STOCKED"  # noqa: S105  (an event, not a secret)
    TOKEN_NOMINATED = "TOKEN.NOMINATED"  # noqa: S105  (an event, not a secret)
    TOKEN_SIGNED = "TOKEN.SIGNED"  # noqa: S105  (a first signature, which waits for the second)
    TOKEN_ALLOCATED = "TOKEN.ALLOCATED"  # noqa: S105  (an event, not a secret)
    TOKEN_PERSONALISED = "TOKEN.PERSONALISED"  # noqa: S105  (an event, not a secret)
    TOKEN_QUARANTINED = "TOKEN.QUARANTINED"  # noqa: S105  (an event, not a secret)
    TOKEN_DISPATCHED = "TOKEN.DISPATCHED"  # noqa: S105  (an event, not a secret)
    TOKEN_DELIVERED = "TOKEN.DELIVERED"  # noqa: S105  (an event, not a secret)
    TOKEN_ACTIVATED = "TOKEN.ACTIVATED"  # noqa: S105  (an event, not a secret)
    TOKEN_SUSPENDED = "TOKEN.SUSPENDED"  # noqa: S105  (an event, not a secret)
    TOKEN_RESUMED = "TOKEN.RESUMED"  # noqa: S105  (an event, not a secret)
    TOKEN_LOST = "TOKEN.LOST"  # noqa: S105  (an event, not a secret)
    TOKEN_REVOKED = "TOKEN.REVOKED"  # noqa: S105  (an event, not a secret)
    TOKEN_EXPIRED = "TOKEN.EXPIRED"  # noqa: S105  (an event, not a secret)
    TOKEN_REPLACED = "TOKEN.REPLACED"  # noqa: S105  (an event, not a secret)
    TOKEN_RETURNED = "TOKEN.RETURNED"  # noqa: S105  (an event, not a secret)
    TOKEN_DESTROYED = "TOKEN.DESTROYED"  # noqa: S105  (an event, not a secret)
    PIN_BLOCKED = "PIN.BLOCKED"
    PIN_RELEASED = "PIN.RELEASED"  # two people let a token be unblocked
    PIN_UNBLOCKED = "PIN.UNBLOCKED"
    CUSTODY_TRANSFERRED = "CUSTODY.TRANSFERRED"
    CUSTODY_OVERDUE = "CUSTODY.OVERDUE"
    STOCK_COUNTED = "STOCK.COUNTED"
    STOCK_DISCREPANCY = "STOCK.DISCREPANCY"
    STOCK_SETTLED = "STOCK.SETTLED"
    FILE_SIGNED = "FILE.SIGNED"
    FILE_VERIFIED = "FILE.VERIFIED"
    QUORUM_AT_RISK = "QUORUM.AT_RISK"
    QUORUM_RECOVERED = "QUORUM.RECOVERED"
    CEREMONY_STARTED = "CEREMONY.STARTED"
    CEREMONY_CLOSED = "CEREMONY.CLOSED"  # with its transcript
    AUTH_OK = "AUTH.OK"
    AUTH_FAILED = "AUTH.FAILED"
    AUTH_LOCKED = "AUTH.LOCKED"
    SESSION_CLOSED = "SESSION.CLOSE"
    SESSION_REOPENED = "SESSION.REOPENED"
    ACCESS_DENIED = "ACCESS.DENIED"
    ACCESS_LIMITED = "ACCESS.LIMITED"
    CONNECTION_REFUSED = "CONN.REFUSED"
    GATE_REFUSED = "GATE.REFUSED"
    HSM_ERROR = "HSM.ERROR"
    HSM_RECOVERED = "HSM.RECOVERED"
    AUDIT_EXPORTED = "AUDIT.EXPORTED"
    AUDIT_QUERIED = "AUDIT.QUERIED"
    AUDIT_HANDED_OVER = "AUDIT.HANDED_OVER"
    PAYLOAD_ERASED = "PAYLOAD.ERASED"
    PAYLOAD_PURGED = "PAYLOAD.PURGED"  # by class, when its time was over
    AUDIT_STREAM_HEADS = "AUDIT.STREAM_HEADS"  # how long each stream is: none is cut unseen
    AUDIT_HOLD_SET = "AUDIT.HOLD_SET"
    AUDIT_HOLD_LIFTED = "AUDIT.HOLD_LIFTED"
    AUDIT_CHECKED = "AUDIT.CHECKED"  # the whole log was read again
    AUDIT_MISFIT = "AUDIT.MISFIT"  # an event was written that says other things than the list has
    AUDIT_ARCHIVED = "AUDIT.ARCHIVED"
    AUDIT_HEARTBEAT = "AUDIT.HEARTBEAT"
    SERVICE_STARTED = "SERVICE.STARTED"
    STREAM_FAILED = "STREAM.FAILED"
    STREAM_RECOVERED = "STREAM.RECOVERED"
    TIME_STAMPED = "TIME.STAMPED"
    TIME_STAMP_FAILED = "TIME.STAMP_FAILED"
    TIME_UNTRUSTED = "TIME.UNTRUSTED"  # this host's clock is not what it should be
    TIME_TRUSTED = "TIME.TRUSTED"
    NOTICE_SENT = "NOTICE.SENT"
    NOTICE_FAILED = "NOTICE.FAILED"
    WITNESS_FAILED = "WITNESS.FAILED"  # it gives no answer
    WITNESS_REFUSED = "WITNESS.REFUSED"  # it answers no: perhaps two histories are told
    WITNESS_RECOVERED = "WITNESS.RECOVERED"


class Outcome(StrEnum):
    INTENT = "intent"
    OK = "ok"
    FAIL = "fail"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """What happened, before the log gives it its counters, its time and its place."""

    type: EventType
    outcome: Outcome
    operation: UUID
    stream: str
    actor: str
    payload: Document = field(default_factory=dict)
    role: str = ""
    scope: Scope | None = None


class Stamp(NamedTuple):
    """What the writer adds: gapless counters, clocks, the newest checkpoint and authority."""

    event_id: str  # UUIDv7
    stream_number: int
    actor_number: int
    node: str
    boot: str
    node_number: int
    time_ms: int
    monotonic_ms: int
    checkpoint: str
    authority: str


class Leaf(NamedTuple):
    """An event as it is stored for ever (`data`) and beside it what may be withheld or erased."""

    data: bytes
    hash: bytes
    salt: bytes
    payload: bytes


def leaf_of(event: AuditEvent, stamp: Stamp, salt: bytes) -> Leaf:
    """Encode an event. `salt` is 16 fresh random bytes. Raises `InvalidInputError` if too long."""
    payload = canonical(event.payload)
    commitment = hashlib.sha256(salt + payload).digest()
    header = _header(event, stamp)
    data = encoded({"h": header, "p": b64encode(commitment).decode()})
    if len(data) > LEAF_LIMIT or len(payload) > PAYLOAD_LIMIT:
        raise InvalidInputError("the event is too long for the log")
    return Leaf(data, hashlib.sha256(b"\x00" + data).digest(), salt, payload)


def _header(event: AuditEvent, stamp: Stamp) -> dict[str, Json]:
    return {
        "v": 1,
        "ev": stamp.event_id,
        "ty": str(event.type),
        "out": str(event.outcome),
        "op": str(event.operation),
        "st": event.stream,
        "ks": stamp.stream_number,
        "ac": event.actor,
        "as": stamp.actor_number,
        "ro": event.role,
        "sc": str(event.scope or ""),
        "n": stamp.node,
        "bo": stamp.boot,
        "ns": stamp.node_number,
        "t": stamp.time_ms,
        "tm": stamp.monotonic_ms,
        "cp": stamp.checkpoint,
        "pv": stamp.authority,
    }
