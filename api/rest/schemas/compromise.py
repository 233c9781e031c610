"""Compromise on the wire: the declaration, its case, and who was told."""

from typing import Self
from uuid import UUID

from api.rest.schemas.common import ABSENT, Instant, Moment, ReasonIn, Text, Wire
from api.rest.schemas.custody import CertificateRef
from keyvault.domain.compromise import Body, File, NoticeSent
from keyvault.domain.keys import KeyState


class CompromiseIn(ReasonIn):
    """Why, and since when anybody knew or suspected: since now, if nothing is said."""

    known_at: Instant = ABSENT


class NoticeIn(Wire):
    """Which body was told, when, and under which reference."""

    body: Body
    sent_at: Instant
    reference: Text


class NoticeOut(Wire):
    """A notice that was sent."""

    body: Body
    sent_at: Moment
    reference: str
    actor: str

    @classmethod
    def of(cls, notice: NoticeSent) -> Self:
        return cls(**{name: getattr(notice, name) for name in cls.model_fields})


class CaseOut(Wire):
    """A compromised key's case as it stands now. `owed` are the bodies that nobody has told."""

    key: UUID
    reason: str
    known_at: Moment
    declared_at: Moment
    declared_by: str
    seconds_since_known: int
    certificates: list[CertificateRef]
    tokens: list[UUID]
    token_count: int
    wrapped: list[UUID]
    wrapped_count: int
    systems: list[str]
    uses: int
    first_use: Moment | None
    last_use: Moment | None
    successor: UUID | None
    successor_state: KeyState | None
    replaced: bool
    sent: list[NoticeOut]
    owed: list[Body]

    @classmethod
    def of(cls, file: File, now: Moment) -> Self:
        case, impact = file.case, file.impact
        return cls(
            **{name: getattr(case, name) for name in ("key", "reason", "known_at", "declared_at")},
            declared_by=case.declared_by,
            seconds_since_known=int((now - case.known_at).total_seconds()),
            certificates=[CertificateRef.of(one) for one in impact.certificates],
            tokens=list(impact.tokens),
            token_count=impact.token_count,
            wrapped=list(impact.wrapped),
            wrapped_count=impact.wrapped_count,
            systems=list(impact.systems),
            uses=impact.uses.events,
            first_use=impact.uses.first,
            last_use=impact.uses.last,
            successor=impact.successor,
            successor_state=impact.successor_state,
            replaced=file.replaced,
            sent=[NoticeOut.of(one) for one in file.sent],
            owed=file.owed,
        )
