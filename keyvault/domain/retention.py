"""How long events keep what they say, what holds them back, and which of them were purged.

Headers and hashes stay for ever, so that a log proves as much with its payloads as without.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from keyvault.catalogue import CATALOGUE
from keyvault.domain.canonical import Document
from keyvault.domain.custody import HoldKind
from keyvault.domain.errors import RetainedError
from keyvault.domain.times import text_of, time_of

HOLDS = "log-holds"  # the stream of holds on events
EVERYTHING = "*"  # a hold on it holds every event
SPAN = 1_200_000  # events from the first of a portion to its last: a bit for each is written down
PORTION = 25_000  # events that one transaction of a purge takes: others wait for it, 1 s or so
MOST = 1_200_000  # events that one request takes


class Retention(StrEnum):
    """Why an event is kept, and so how long. What proves the rest is kept always."""

    ALWAYS = "always"
    KEY = "key"
    TOKEN = "token"  # noqa: S105  (a class of events, not a secret)
    PEOPLE = "people"
    ACCESS = "access"
    USE = "use"


# Days, where the settings say nothing else: from the end of what an event is about, or from it.
DAYS: Mapping[Retention, int] = {
    Retention.KEY: 2_557,
    Retention.TOKEN: 2_557,
    Retention.PEOPLE: 2_557,
    Retention.ACCESS: 1_461,
    Retention.USE: 396,
}
# Whose events wait for the end of what they are about; the others count from themselves.
OF_LIVES = frozenset({Retention.KEY, Retention.TOKEN, Retention.PEOPLE})
CLASSES: Mapping[str, Retention] = {
    line.split()[0]: Retention(line.split()[1])
    for line in CATALOGUE.strip().splitlines()
    if not line.startswith(" ")
}


def types_of(retention: Retention) -> list[str]:
    return [name for name, kept in CLASSES.items() if kept is retention]


def check_age(retention: Retention, before: str, now: datetime, days: int) -> None:
    """Raise `RetainedError` where events before this time have to be kept for longer."""
    latest = now - timedelta(days=days)
    if time_of(before) > latest:
        raise RetainedError(
            f"events of class {retention} are kept for {days} days",
            next_step=f"purge what is older than {text_of(latest)}",
        )


@dataclass(frozen=True, slots=True)
class LogHold:
    """As long as it stands, what it is about is not purged. One sets it, several lift it.

    `about` is a stream or an actor, such as `key:ID` or `person:alice`, or `*`.
    """

    id: UUID
    about: str
    kind: HoldKind
    reason: str
    set_at: datetime
    set_by: str

    def document(self) -> Document:
        """What its event says; who and when stand in the header."""
        return {
            "hold": str(self.id),
            "about": self.about,
            "kind": str(self.kind),
            "reason": self.reason,
        }

    def covers(self, stream: str, actor: str) -> bool:
        return self.about in (EVERYTHING, stream, actor)


def bits_of(indexes: Sequence[int]) -> Document:
    """Write ascending indexes down: from `start` to before `end`, a bit for each, in base64."""
    start, end = indexes[0], indexes[-1] + 1
    bits = bytearray((end - start + 7) // 8)
    for index in indexes:
        at = index - start
        bits[at // 8] |= 128 >> at % 8
    return {
        "start": start,
        "end": end,
        "count": len(indexes),
        "events": b64encode(bits).decode(),
    }
