"""Certificates on the wire: requests, answers, what is known of each."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from api.rest.schemas.common import (
    ABSENT,
    Blob,
    Bytes,
    Id,
    Moment,
    Page,
    ScopeOut,
    Text,
    Wire,
)
from keyvault.domain.certificates import Certificate, CertificateState, Kind
from keyvault.domain.profiles import SYSTEM_NAME, Interface, ProfileName
from keyvault.operations.certificates import CHUNK, Moved, Which
from keyvault.operations.csr import Built, Status, Wanted
from keyvault.operations.responses import Answered, Result, Taken

SystemName = Annotated[str, StringConstraints(pattern=f"^{SYSTEM_NAME.pattern}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Said = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\xa0]*$")]


class WantedIn(Wire):
    """A key; for an IKI client certificate also the interface that it opens, and for whom."""

    key: Id
    interface: Interface = ABSENT
    system: SystemName = ABSENT

    def read(self) -> Wanted:
        return Wanted(self.key, self.interface or "", self.system or "")


class CsrsIn(Wire):
    """Requests to be made from the keys' records; `batch` names what belongs together."""

    profile: ProfileName
    items: Annotated[list[WantedIn], Field(min_length=1, max_length=CHUNK)]
    batch: Id = ABSENT


class _WhichIn(Wire):
    certificates: Annotated[list[Id], Field(min_length=1, max_length=CHUNK)] = ABSENT
    batch: Id = ABSENT

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.certificates is ABSENT) == (self.batch is ABSENT):
            raise ValueError("name certificates, or a batch, and not both")
        return self

    def read(self) -> Which:
        return Which(tuple(self.certificates or ()), self.batch)


class SubmissionIn(_WhichIn):
    """Which requests were sent, and under which reference of the authority's."""

    reference: Text


class AcceptanceIn(_WhichIn):
    """Which certificates are accepted, and why."""

    reason: Text


class AnswerIn(Wire):
    """A certificate in DER; or the authority's word, under the name of the request's file."""

    name: FileName
    certificate: Blob = ABSENT
    status: Literal["error", "anomaly", "ineligible"] = ABSENT
    detail: Said = ""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.certificate is ABSENT) == (self.status is ABSENT):
            raise ValueError("give a certificate, or a status, and not both")
        return self

    def read(self) -> Answered:
        return Answered(self.name, self.certificate or b"", self.status or "", self.detail)


class AnswersIn(Wire):
    """Up to 200 answers of the authority."""

    items: Annotated[list[AnswerIn], Field(min_length=1, max_length=CHUNK)]


class WatchIn(Wire):
    """Another's certificate in DER. A root, or what it has issued, makes others believed."""

    certificate: Blob
    kind: Literal["root", "issuing", "other"]


class CertificateOut(Wire):
    """What is known of a certificate. `state` is by the clock: expired as soon as it is."""

    id: UUID
    kind: Kind
    state: CertificateState
    version: int
    scope: ScopeOut | None
    key: UUID | None
    profile: str
    interface: str
    system: str
    batch: UUID | None
    subject: str
    issuer: str
    serial: str
    spki_sha256: str
    created_at: Moment
    not_before: Moment | None
    not_after: Moment | None
    days_left: int | None
    warning: Literal["", "expired", "30", "90", "180"]
    received_at: Moment | None
    decide_until: Moment | None
    overdue: bool
    reference: str
    reason: str

    @classmethod
    def of(cls, one: Certificate, now: Moment) -> Self:
        """Translate; every field by its name."""
        own = {"scope", "state", "days_left", "warning", "csr", "certificate"}
        names = [name for name in cls.model_fields if name not in own]
        return cls(
            scope=None if one.scope is None else ScopeOut.of(one.scope),
            state=one.at(now),
            days_left=one.days_left(now),
            warning=one.warning(now),
            **cls._bodies(one),
            **{name: getattr(one, name) for name in names},
        )

    @classmethod
    def _bodies(cls, _one: Certificate) -> dict[str, Any]:
        return {}


class CertificateWholeOut(CertificateOut):
    """With the request and the certificate themselves, in DER, base64."""

    csr: Bytes | None
    certificate: Bytes | None

    @classmethod
    def _bodies(cls, one: Certificate) -> dict[str, Any]:
        return {"csr": one.csr or None, "certificate": one.certificate or None}


class CertificatesOut(Page[CertificateOut]):
    """Certificates, newest first, or the first to end first."""


class BuiltOut(Wire):
    """What came of one key. Without a certificate, `code` and `detail` say why."""

    key: UUID
    status: Status
    certificate: CertificateWholeOut | None
    code: str
    detail: str

    @classmethod
    def of(cls, built: Built, now: Moment) -> Self:
        made = built.certificate
        return cls(
            key=built.key,
            status=built.status,
            certificate=None if made is None else CertificateWholeOut.of(made, now),
            code=built.code,
            detail=built.detail,
        )


class CsrsOut(Wire):
    """One for each key that was named, in that order."""

    items: list[BuiltOut]


class PaceOut(Wire):
    """How many a party may still send alone today, and until when a batch of it is on its way."""

    party: str
    alone_left: int
    batch: UUID | None
    busy_until: str | None


class MovedOut(Wire):
    """What was moved, and how many of the batch are left to be moved by further calls.

    `pace` says where the parties of requests that were sent stand with the authority.
    """

    items: list[CertificateOut]
    left: int
    pace: list[PaceOut]

    @classmethod
    def of(cls, moved: Moved, now: Moment) -> Self:
        return cls(
            items=[CertificateOut.of(one, now) for one in moved.certificates],
            left=moved.left,
            pace=[PaceOut(**one) for one in moved.pace],
        )


class MismatchOut(Wire):
    """One field that is not what was asked for."""

    field: str
    wanted: str
    found: str


class TakenOut(Wire):
    """What came of one answer."""

    name: str
    result: Result
    certificate: CertificateOut | None
    mismatches: list[MismatchOut]
    detail: str

    @classmethod
    def of(cls, taken: Taken, now: Moment) -> Self:
        one = taken.certificate
        return cls(
            name=taken.name,
            result=taken.result,
            certificate=None if one is None else CertificateOut.of(one, now),
            mismatches=[MismatchOut(**each._asdict()) for each in taken.mismatches],
            detail=taken.detail,
        )


class AnswersOut(Wire):
    """One for each answer, in that order."""

    items: list[TakenOut]


class CsrOut(Wire):
    """A certification request in DER, base64."""

    id: UUID
    csr: Bytes


class BatchRequestsOut(Page[CsrOut]):
    """Requests of a batch."""


class BatchOut(Wire):
    """How many of a batch are in which state."""

    states: dict[CertificateState, int]
