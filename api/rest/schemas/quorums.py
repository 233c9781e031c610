"""Quorums on the wire: how much room every rule has, and what a leaver takes of it."""

from uuid import UUID

from pydantic import Field

from api.rest.schemas.backups import ShareOut
from api.rest.schemas.common import Moment, Wire
from api.rest.schemas.people import LapseOut
from keyvault.domain.leaving import Hurt
from keyvault.domain.people import Role
from keyvault.domain.quorums import Level, Loss, Outlook, Quorum
from keyvault.operations.leaving import Leaving


class OutlookOut(Wire):
    """Who can sign at one time. `margin` is how many may fall away; below 0 the rule breaks."""

    at: Moment
    able: list[str]
    margin: int

    @classmethod
    def of(cls, outlook: Outlook) -> "OutlookOut":
        return cls(at=outlook.at, able=list(outlook.able), margin=outlook.margin)


class LossOut(Wire):
    """Who can sign now and not at the last outlook, and why."""

    person: str
    lapse: LapseOut

    @classmethod
    def of(cls, loss: Loss) -> "LossOut":
        return cls(person=loss.person, lapse=LapseOut.of(loss.lapse))


class QuorumOut(Wire):
    """A rule and the people behind it: now, in 30 days and in 90."""

    rule: str
    needed: int
    level: Level
    text: str
    outlooks: list[OutlookOut]
    losses: list[LossOut]

    @classmethod
    def of(cls, quorum: Quorum) -> "QuorumOut":
        return cls(
            rule=quorum.rule.id,
            needed=quorum.needed,
            level=quorum.level,
            text=quorum.text,
            outlooks=[OutlookOut.of(outlook) for outlook in quorum.outlooks],
            losses=[LossOut.of(loss) for loss in quorum.losses],
        )


class QuorumsOut(Wire):
    items: list[QuorumOut]


class HurtOut(Wire):
    """A rule that the leaver could sign under: its room with them and without."""

    rule: str
    needed: int
    margin: int
    margin_after: int
    level_after: Level

    @classmethod
    def of(cls, hurt: Hurt) -> "HurtOut":
        return cls(
            rule=hurt.before.rule.id,
            needed=hurt.before.needed,
            margin=hurt.before.outlooks[0].margin,
            margin_after=hurt.after.outlooks[0].margin,
            level_after=hurt.after.level,
        )


class OrphanOut(Wire):
    """A role that nobody else holds for a scope."""

    role: Role
    scope: str


class LeavingOut(Wire):
    """What is hurt if a person leaves now."""

    person: str
    name: str
    refused: str = Field(description="Why they cannot be removed now, or empty")
    quorums: list[HurtOut]
    orphaned: list[OrphanOut]
    reports: list[str] = Field(description="Who reports to them")
    sessions: int
    asked: list[UUID] = Field(description="Open requests of theirs, which cannot be done any more")
    signed: list[UUID] = Field(description="Open requests that lose their signature")
    keys: list[UUID] = Field(description="Keys that they ordered, the newest hundred")
    keys_count: int
    shares: list[ShareOut] = Field(description="Shares of backup keys that they hold")

    @classmethod
    def of(cls, leaving: Leaving) -> "LeavingOut":
        return cls(
            person=leaving.person.id,
            name=leaving.person.name,
            refused=leaving.refused,
            quorums=[HurtOut.of(hurt) for hurt in leaving.quorums],
            orphaned=[OrphanOut(role=one.role, scope=one.scope) for one in leaving.orphaned],
            reports=list(leaving.reports),
            sessions=leaving.sessions,
            asked=leaving.asked,
            signed=leaving.signed,
            keys=leaving.keys,
            keys_count=leaving.keys_count,
            shares=[ShareOut.of(one) for one in leaving.shares],
        )
