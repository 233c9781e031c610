"""A key's whole life in plain words, and how many keys end when."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from keyvault.domain.audit import EventType, Outcome

_T = EventType
# The nine verbs of a key's custody, each with the events that say it.
VERBS: dict[str, tuple[EventType, ...]] = {
    "registered": (_T.KEY_REGISTERED,),
    "ordered": (_T.KEY_REQUESTED,),
    "generated": (_T.KEY_GENERATED, _T.KEY_IMPORTED),
    "labelled": (_T.KEY_LABELLED,),
    "distributed": (_T.KEY_DISTRIBUTED,),
    "installed": (_T.KEY_INSTALLED,),
    "superseded": (_T.KEY_SUPERSEDED,),
    "renewed": (_T.KEY_RENEWED,),
    "destroyed": (_T.KEY_DESTROYED,),
}
WORDS: dict[EventType, str] = {
    _T.KEY_REQUESTED: "was ordered",
    _T.KEY_GENERATED: "was generated inside the device",
    _T.KEY_IMPORTED: "was brought in, wrapped or by components",
    _T.KEY_EXPORTED: "left as a wrapped copy or by components",
    _T.HANDOVER_OPENED: "could be carried by its custodians",
    _T.HANDOVER_DELIVERED: "had a part brought",
    _T.HANDOVER_COLLECTED: "had a part taken out",
    _T.HANDOVER_REFUSED: "had a part refused",
    _T.HANDOVER_ABORTED: "had its handover ended by a custodian",
    _T.HANDOVER_EXPIRED: "had its handover ended by the clock",
    _T.HANDOVER_LOST: "had its handover lost with the gate",
    _T.BAG_SEALED: "had a component put into a bag",
    _T.BAG_RETURNED: "had a bag come back",
    _T.BAG_MISMATCHED: "had a bag come back with another number",
    _T.KEY_REGISTERED: "was entered in the register",
    _T.KEY_LABELLED: "was labelled",
    _T.KEY_DISTRIBUTED: "was distributed",
    _T.KEY_INSTALLED: "was installed",
    _T.KEY_RENEWED: "was renewed by another certificate",
    _T.KEY_SUPERSEDED: "was superseded by its successor",
    _T.KEY_ACTIVATED: "was put into use",
    _T.KEY_SUSPENDED: "was suspended",
    _T.KEY_RESUMED: "was resumed",
    _T.KEY_DEACTIVATED: "ended protecting",
    _T.KEY_HOLD_SET: "was put on hold",
    _T.KEY_HOLD_LIFTED: "had a hold lifted",
    _T.KEY_COMPROMISE_DECLARED: "was declared compromised",
    _T.KEY_IMPACT_LISTED: "had its reach listed",
    _T.KEY_NOTICE_SENT: "was reported",
    _T.KEY_DESTROYED: "was destroyed",
    _T.KEY_DESTRUCTION_CERTIFIED: "has a certificate of destruction",
    _T.KEY_USE_ALLOWED: "was allowed some uses",
    _T.KEY_USE_DENIED: "was refused a use",
    _T.KEY_RECONCILED: "was held against the token",
    _T.CSR_BUILT: "signed a certification request",
    _T.CSR_SUBMITTED: "had its certification request sent",
    _T.CSR_REJECTED: "had its certification request rejected",
    _T.CSR_WITHDRAWN: "had its certification request withdrawn",
    _T.CERT_RECEIVED: "had a certificate come",
    _T.CERT_ACCEPTED: "had a certificate accepted",
    _T.CERT_REJECTED: "had a certificate rejected",
    _T.CERT_REVOKED: "had a certificate revoked",
    _T.CERT_EXPIRED: "had a certificate expire",
    _T.CERT_OVERDUE: "had a certificate that nobody decided on in time",
}
_ENDED = {
    Outcome.INTENT: " (begun)",
    Outcome.FAIL: " (it failed)",
    Outcome.REFUSED: " (refused)",
    Outcome.UNKNOWN: " (outcome unknown)",
}
_REFUSALS = frozenset({_T.KEY_USE_DENIED})
_SAID = (
    "reason",
    "number",
    "bag",
    "came",
    "need",
    "text",
    "target",
    "certificate",
    "hold",
    "kind",
    "body",
    "successor",
)


@dataclass(frozen=True, slots=True)
class Moment:
    """One event in a key's life. `index` is its place in the log."""

    at: datetime
    index: int
    type: EventType
    outcome: Outcome
    actor: str
    words: str


def words(kind: EventType, outcome: Outcome, actor: str, payload: dict[str, object]) -> str:
    """Say in a sentence what happened: `actor` is who did it, by name where it is known."""
    said = WORDS.get(kind, str(kind))
    ending = "" if kind in _REFUSALS else _ENDED.get(outcome, "")
    told = [f"{name} {payload[name]}" for name in _SAID if payload.get(name)]
    return f"The key {said}{ending}, by {actor}{': ' if told else ''}{', '.join(told)}"


def verbs(moments: Iterable[Moment]) -> dict[str, datetime | None]:
    """When each of the nine verbs came last, or None where it did not come yet."""
    done = {one.type: one.at for one in moments if one.outcome is Outcome.OK}
    return {
        verb: next((done[kind] for kind in kinds if kind in done), None)
        for verb, kinds in VERBS.items()
    }


@dataclass(frozen=True, slots=True)
class Ending:
    """How many of one class (or profile) and scope end when; no one is counted twice."""

    what: Literal["key", "certificate"]
    group: str
    scope: str  # empty for others' certificates
    ended: int
    within_30: int
    within_90: int
    within_180: int
