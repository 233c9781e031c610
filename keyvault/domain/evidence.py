"""What may be asked of evidence: its views, questions whose answer is no, and hand-overs."""

from collections.abc import Mapping
from enum import StrEnum

from keyvault.domain.audit import EventType

HANDOVER = "keyvault-handover-v1"
RECEIPT = "keyvault-receipt-v1"  # by somebody outside, with a key of their own
HANDED = {"at", "bundle", "credential", "ctx", "from", "place", "prev", "seq", "to"}


class View(StrEnum):
    """What a bundle may carry beside its proofs, for readers."""

    CSV = "csv"
    NDJSON = "ndjson"
    OCSF = "ocsf"
    CEF = "cef"
    HTML = "html"
    PDF = "pdf"


class Question(StrEnum):
    """A claim that something did not happen. The verifier works it out by itself."""

    NO_EXPORT = "no-export"
    NO_ERASURE = "no-erasure"
    NO_SINGLE_PERSON_ACT = "no-single-person-act"
    NO_LAPSED_APPROVER = "no-lapsed-approver"


_ACTS = (
    *(EventType.KEY_GENERATED, EventType.KEY_IMPORTED, EventType.KEY_EXPORTED),
    *(EventType.KEY_ACTIVATED, EventType.KEY_RESUMED, EventType.KEY_DEACTIVATED),
    *(EventType.KEY_DESTROYED, EventType.KEY_USE_ALLOWED, EventType.KEY_HOLD_LIFTED),
)
# What has to be disclosed so that the answer is not left open.
DISCLOSES: Mapping[Question, tuple[EventType, ...]] = {
    Question.NO_EXPORT: (EventType.KEY_EXPORTED,),
    Question.NO_ERASURE: (EventType.PAYLOAD_ERASED, EventType.PAYLOAD_PURGED),
    Question.NO_SINGLE_PERSON_ACT: _ACTS,
    Question.NO_LAPSED_APPROVER: _ACTS,
}
