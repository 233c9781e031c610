"""Issuing jobs: the steps from a blank token to one that is proven, and where a job stands.

A step is written down when it is done, and before what changes the token is begun. A token that
is pulled in the middle leaves a job that is interrupted: the same token is put in again, and the
job goes on until it is done, or until the token turns out to be spoiled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from keyvault.domain.canonical import Document
from keyvault.domain.errors import IssueStateError

SECOND_PERSON_AFTER = 3  # interruptions: then somebody else looks before it goes on
BATCH_LIMIT = 200  # tokens in one batch
DEFAULT_PLAN = {"9A": "EC-P256", "9C": "EC-P256"}
# Slots and algorithms by the profile that a token was nominated with; any other has the default.
PLANS: Mapping[str, Mapping[str, str]] = {
    "default": DEFAULT_PLAN,
    "with-agreement": {**DEFAULT_PLAN, "9D": "EC-P256"},
}
IKI_PLAN: Mapping[str, str] = {"9A": "RSA-2048"}


class IssueStep(StrEnum):
    """What is done, in this order and no other."""

    ORDERED = "ordered"
    BOUND = "bound"  # this token, by what it says of itself
    TAKEN_OVER = "taken-over"  # it obeys our administrator's key
    KEYED = "keyed"  # its keys are made on it
    SECURED = "secured"  # PUK and PIN are ours, before it may lie somewhere and wait
    CERTIFIED = "certified"  # it proved to have them, and each has one certificate
    LOADED = "loaded"  # certificates and identity are on it, read back
    PROVEN = "proven"  # after a reset: it signs, and nothing of its factory works


class Standing(StrEnum):
    OPEN = "open"  # waits for its token, or is under way
    INTERRUPTED = "interrupted"
    AWAITING = "awaiting"  # certificates of another authority; its token is out of the reader
    QUARANTINED = "quarantined"  # the token is destroyed, whatever else
    ABANDONED = "abandoned"  # its certificates are revoked
    DONE = "done"


MOVES: Mapping[Standing, frozenset[Standing]] = {
    Standing.OPEN: frozenset(
        {
            *(Standing.INTERRUPTED, Standing.AWAITING, Standing.QUARANTINED),
            *(Standing.ABANDONED, Standing.DONE),
        }
    ),
    Standing.AWAITING: frozenset({Standing.OPEN, Standing.ABANDONED}),
    Standing.INTERRUPTED: frozenset({Standing.OPEN, Standing.QUARANTINED, Standing.ABANDONED}),
    Standing.QUARANTINED: frozenset({Standing.ABANDONED}),
    Standing.ABANDONED: frozenset(),
    Standing.DONE: frozenset(),
}
LIVE = frozenset({Standing.OPEN, Standing.INTERRUPTED, Standing.AWAITING})
_ORDER = tuple(IssueStep)


class PinRoute(StrEnum):
    """How the holder comes to a PIN."""

    MAILER = "mailer"  # a random one, printed once, on another way than the token
    ACTIVATION = "activation"  # nobody learns the one it is sent with; the holder sets their own


class Issuer(StrEnum):
    """Who certifies the keys of a token."""

    OWN = "own"
    OTHER = "other"  # by a request as our own authority would write the certificate
    IKI = "iki"  # RSA-2048, to authenticate with, and nothing else


class Service(StrEnum):
    UNBLOCK = "unblock"  # a new PIN by the PUK, and at a station another PUK
    REKEY = "rekey"  # the management key of the newest master
    ROTATE_PUK = "rotate-puk"  # another PUK for one that was used before its holder
    WIPE = "wipe"  # nothing of its holder is left; before it is destroyed
    CHOOSE_PIN = "choose-pin"  # the holder's own, before the token is activated


AT_STATIONS = frozenset(Service) - {Service.CHOOSE_PIN}
BEFORE_HOLDERS = frozenset({Service.CHOOSE_PIN, Service.UNBLOCK})


@dataclass(frozen=True, slots=True)
class IssueJob:
    """One job for one token.

    `facts` is the journal: what was begun, and what the token and the CA gave. It holds public
    values and sealed secrets, never one in clear.
    """

    id: UUID
    token: UUID
    kind: str
    actor: str
    created_at: datetime
    changed_at: datetime
    step: IssueStep = IssueStep.ORDERED
    standing: Standing = Standing.OPEN
    station: str = ""
    batch: str = ""
    version: int = 1
    resumes: int = 0
    facts: Document = field(default_factory=dict)

    def reached(self, step: IssueStep) -> bool:
        return _ORDER.index(self.step) >= _ORDER.index(step)

    def noting(self, **facts: object) -> "IssueJob":
        """Return the job with these facts in its journal."""
        return replace(self, facts={**self.facts, **facts})

    def done(self, step: IssueStep, **facts: object) -> "IssueJob":
        """Return the job with its next step done. Raises `IssueStateError` out of turn."""
        if self.standing is not Standing.OPEN or _ORDER.index(step) != _ORDER.index(self.step) + 1:
            raise IssueStateError(
                f"{step} does not follow a job that is {self.standing} at {self.step}"
            )
        return replace(self.noting(**facts), step=step)

    def to(self, standing: Standing, **facts: object) -> "IssueJob":
        """Take an arrow of `MOVES`. Raises `IssueStateError`."""
        if standing not in MOVES[self.standing]:
            raise IssueStateError(
                f"a job that is {self.standing} does not become {standing}",
                next_step=f"see it: keyvault issuing show {self.id}",
            )
        resumes = self.resumes + (standing is Standing.INTERRUPTED)
        return replace(self.noting(**facts), standing=standing, resumes=resumes)

    @property
    def plan(self) -> Mapping[str, str]:
        """Slots of the token and the algorithm of the key in each."""
        return {str(k): str(v) for k, v in dict(self.facts.get("plan", DEFAULT_PLAN)).items()}

    @property
    def issuer(self) -> Issuer:
        return Issuer(str(self.facts.get("issuer", Issuer.OWN)))

    @property
    def channel(self) -> bool | None:
        """Whether the token is spoken to through a secure channel; None before that is known."""
        return bool(self.facts.get("channel")) if self.reached(IssueStep.BOUND) else None

    @property
    def awaited(self) -> list[str]:
        """Slots whose request waits for a certificate."""
        return sorted(set(self.by_slot("requests")) - set(self.by_slot("certificates")))

    def begun(self, what: str) -> int:
        """How often this was tried before now."""
        return int(dict(self.facts.get("begun", {})).get(what, 0))

    def beginning(self, *what: str) -> "IssueJob":
        """Return the job with one more try of each written down."""
        tried = {name: self.begun(name) + 1 for name in what}
        return self.noting(begun={**dict(self.facts.get("begun", {})), **tried})

    def by_slot(self, name: str) -> dict[str, str]:
        return {str(k): str(v) for k, v in dict(self.facts.get(name, {})).items()}


_WORDS: Mapping[str, str] = {
    "inserted": "reading the token",
    "bound": "it is the right token",
    "taken-over": "it obeys our management key",
    "keyed": "its keys are made",
    "secured": "PIN and PUK are set",
    "certified": "its keys are certified",
    "loaded": "its certificates are on it",
    "proven": "it was tried, and nothing of its factory works",
}  # what journal entries are called at the reader; others say it themselves


def progress(job: IssueJob, what: str) -> str:
    """How far a job is, and what was just written into its journal, for who waits."""
    return f"step {_ORDER.index(job.step)} of {len(_ORDER) - 1}: {_WORDS.get(what, what)}"


_NEXT: Mapping[Standing, str] = {
    Standing.DONE: "Take the token out, label it, and hand it to whoever dispatches.",
    Standing.INTERRUPTED: "Put the same token in again: the job goes on where it was.",
    Standing.AWAITING: "Put the same token in: its certificates are here.",
    Standing.QUARANTINED: (
        "Take the token out and put it with those to be destroyed. Do not use it again."
    ),
    Standing.ABANDONED: "Nothing is left to do: its certificates are revoked.",
}


def guidance(job: IssueJob) -> str:
    """What the person at the reader does next, in one sentence."""
    if job.standing is Standing.AWAITING and job.awaited:
        return f"Lock the token up until there are certificates for {', '.join(job.awaited)}."
    if job.standing in _NEXT:
        return _NEXT[job.standing]
    ordered = job.step is IssueStep.ORDERED
    return "Put the token in." if ordered else "Leave the token in the reader."
