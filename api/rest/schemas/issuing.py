"""Issuing jobs on the wire, and the messages between the service and a desk."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field

from api.rest.schemas.common import ABSENT, Blob, Bytes, Id, Moment, Page, Text, Wire
from hsm.pcsc.apdu import RESPONSE_LIMIT
from hsm.pcsc.relay import APDU_LIMIT, Message
from keyvault.domain.issuing import BATCH_LIMIT, IssueJob, Issuer, PinRoute, Service, guidance
from keyvault.domain.stations import READER_NAME, STATION_NAME, StationState
from keyvault.operations.servicing import Card
from keyvault.operations.stations import Outlook
from keyvault.operations.traces import digest
from keyvault.store.traces import KeptTrace

Hex = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{2})*$")]
SlotName = Literal["9A", "9C", "9D"]
AlgorithmName = Literal["EC-P256", "EC-P384", "RSA-2048"]


class IssueIn(Wire):
    """Tokens to be personalised, each with keys in these slots."""

    tokens: Annotated[list[Id], Field(min_length=1, max_length=BATCH_LIMIT)]
    pin_route: PinRoute = PinRoute.MAILER
    plan: Annotated[dict[SlotName, AlgorithmName], Field(min_length=1)] = ABSENT
    issuer: Issuer = Issuer.OWN


class JobOut(Wire):
    """A job. `guidance` is what the person at the reader does next.

    `tries` is how many the PIN had left when the token was last put in, where it says so.
    """

    id: UUID
    token: UUID
    kind: str
    step: str
    standing: str
    station: str
    batch: str
    actor: str
    interruptions: int
    tries: int | None
    pin_route: str
    plan: dict[str, str]
    issuer: Issuer
    awaited: list[str]
    certificates: dict[str, str]
    cause: str
    guidance: str
    created_at: Moment
    changed_at: Moment

    @classmethod
    def of(cls, job: IssueJob) -> Self:
        told = {name: getattr(job, name) for name in ("id", "token", "kind", "station", "batch")}
        return cls(
            **told,
            step=str(job.step),
            standing=str(job.standing),
            actor=job.actor,
            interruptions=job.resumes,
            tries=job.facts.get("tries"),
            pin_route=str(job.facts.get("pin_route", "")),
            plan=dict(job.plan),
            issuer=job.issuer,
            awaited=job.awaited,
            certificates=job.by_slot("certificates"),
            cause=str(job.facts.get("cause", "")),
            guidance=guidance(job),
            created_at=job.created_at,
            changed_at=job.changed_at,
        )


class JobsOut(Page[JobOut]):
    """Issuing jobs, newest first."""


class JobListOut(Wire):
    """What was ordered at once: a job for each token."""

    jobs: list[JobOut]


class PieceOut(Wire):
    """One token of a batch. `cause` says why it is not done."""

    job: UUID
    token: UUID
    serial: str
    holder: str
    standing: str
    cause: str


class BatchOut(Wire):
    """What became of a batch: tokens in, out, spoiled, and still open."""

    batch: str
    tokens: int
    out: int
    spoiled: int
    open: int
    standing: dict[str, int]
    items: list[PieceOut]


class RequestsOut(Wire):
    """Requests (PKCS#10, DER) by slot, for another authority."""

    requests: dict[str, Bytes]


class TraceOut(Wire):
    """One session of a job with its token: how many exchanges, and SHA-256 of their text (hex).

    The last event of the job that names the session has the same.
    """

    session: UUID
    job: UUID
    began_at: Moment
    exchanges: int
    sha256: str

    @classmethod
    def of(cls, kept: KeptTrace) -> Self:
        return cls(
            session=kept.id,
            job=kept.job,
            began_at=kept.began_at,
            exchanges=kept.exchanges,
            sha256=digest(kept.lines),
        )


class TracesOut(Wire):
    """The sessions of a job that are kept, oldest first."""

    items: list[TraceOut]


class CertificatesIn(Wire):
    """What another authority answered (X.509, DER) to the requests of one job."""

    certificates: Annotated[list[Blob], Field(min_length=1, max_length=8)]


class AbandonIn(Wire):
    reason: Text


class SessionIn(Wire):
    """A token is in a reader at this station: its ATR, and the protocol (1 is T=0, 2 is T=1)."""

    station: Text
    atr: Annotated[Hex, Field(max_length=66)]
    protocol: Literal[1, 2]


class HeldIn(Wire):
    """A finished token is in a reader before its holder, wherever that is."""

    service: Service
    atr: Annotated[Hex, Field(max_length=66)]
    protocol: Literal[1, 2]
    statement: Id = ABSENT

    def card(self, station: str = "") -> Card:
        atr = bytes.fromhex(self.atr)
        return Card(self.service, atr, self.protocol, station, self.statement)


class ServiceIn(HeldIn):
    """A finished token is in a reader. Unblocking takes the release that two people signed."""

    station: Text


class AnswerIn(Wire):
    """What the desk's token answered to message `number`, or why it did not."""

    number: Annotated[int, Field(ge=1)] = ABSENT
    response: Annotated[Hex, Field(max_length=2 * RESPONSE_LIMIT)] = ABSENT
    result: dict[str, Any] = ABSENT
    error: Annotated[str, Field(max_length=64)] = ABSENT
    message: Annotated[str, Field(max_length=500)] = ABSENT
    cause: Annotated[str, Field(max_length=64)] = ABSENT
    next_step: Annotated[str, Field(max_length=500)] = ABSENT

    def read(self) -> Message | None:
        """The answer; None where the desk only asks what is next."""
        return self.model_dump(exclude_unset=True) or None


class MessageOut(Wire):
    """What the desk does next: pass on an APDU, reset the card, wait, or stop.

    At `pin` the holder replaces that PIN by one of their own, or gives theirs if it is empty.
    """

    session: UUID
    do: Literal["apdu", "reset", "call", "pin", "wait", "done", "failed"]
    number: int | None = None
    apdu: Annotated[str, Field(max_length=2 * APDU_LIMIT)] | None = None
    call: dict[str, Any] | None = None
    seconds: float | None = None
    progress: str | None = None
    job: UUID | None = None
    standing: str | None = None
    guidance: str | None = None
    pin: str | None = None
    code: str | None = None
    detail: str | None = None
    next_step: str | None = None

    @classmethod
    def of(cls, session: UUID, message: Message) -> Self:
        return cls(session=session, **message)


class ReportIn(Wire):
    """What a desk says of the reader at its station, a name of the settings."""

    station: Annotated[Text, Field(max_length=STATION_NAME)]
    state: StationState
    reader: Annotated[Text, Field(max_length=READER_NAME)]


class ReportedOut(Wire):
    """In so many seconds the desk has to speak again, or it counts as silent in time."""

    again: float


class StationOut(Wire):
    """A station: what was last said of it, when, and which jobs are unfinished there.

    `state` may also be `silent`, or `unheard`. `alarm` is what keeps its jobs waiting, if
    anything does.
    """

    name: str
    trusted: bool
    state: str
    reader: str = ""
    person: str = ""
    since: Moment | None = None
    heard_at: Moment | None = None
    alarm: str
    jobs: list[UUID]

    @classmethod
    def of(cls, outlook: Outlook) -> Self:
        said = outlook.said
        names = ("reader", "person", "since", "heard_at")
        told = {name: getattr(said, name) for name in names} if said else {}
        return cls(
            name=outlook.settings.name,
            trusted=outlook.settings.trusted,
            state=outlook.shown,
            alarm=outlook.alarm,
            jobs=list(outlook.jobs),
            **told,
        )


class StationsOut(Wire):
    """Every station of the settings."""

    items: list[StationOut]
