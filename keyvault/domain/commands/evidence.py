"""Acts on the log that need approvals."""

from dataclasses import dataclass
from uuid import UUID

from keyvault.domain.commands.base import Command
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.retention import Retention
from keyvault.domain.times import text_of, time_of


@dataclass(frozen=True, slots=True)
class ErasePayload(Command):
    """Erase what some events say, as the law may ask. Their leaves, and every proof, stay.

    `ground` is the ground in law, such as "GDPR article 17", and is shown to every auditor.
    """

    name = "erase-payload"
    events: tuple[int, ...]
    ground: str
    reason: str


@dataclass(frozen=True, slots=True)
class PurgePayloads(Command):
    """Remove what events of one class said before a time. Their leaves, and every proof, stay.

    `before` is a time (RFC 3339). What is on hold, and what is about something that still lives,
    is passed over.
    """

    name = "purge-payloads"
    retention: Retention
    before: str
    reason: str

    def __post_init__(self) -> None:
        if self.retention is Retention.ALWAYS:
            raise InvalidInputError("what proves everything else is never purged")
        if text_of(time_of(self.before)) != self.before:
            raise InvalidInputError("before is a time such as 2026-11-22T15:00:00Z")


@dataclass(frozen=True, slots=True)
class LiftLogHold(Command):
    """End a hold on events, so that what they say may be purged when its time is over."""

    name = "lift-log-hold"
    hold: UUID
    reason: str
