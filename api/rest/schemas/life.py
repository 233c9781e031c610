"""A key's life and the forecast on the wire."""

from typing import Literal, Self

from api.rest.schemas.common import Moment as MomentTime
from api.rest.schemas.common import Wire
from api.rest.schemas.keys import KeyOut
from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.life import Ending, Moment
from keyvault.operations.life import Life


class MomentOut(Wire):
    """One event; `index` is its place in the log, where it can be proved."""

    at: MomentTime
    index: int
    type: EventType
    outcome: Outcome
    actor: str
    words: str

    @classmethod
    def of(cls, moment: Moment) -> Self:
        return cls(**{name: getattr(moment, name) for name in cls.model_fields})


class VerbsOut(Wire):
    """When each of the nine verbs of custody came last."""

    registered: MomentTime | None
    ordered: MomentTime | None
    generated: MomentTime | None
    labelled: MomentTime | None
    distributed: MomentTime | None
    installed: MomentTime | None
    superseded: MomentTime | None
    renewed: MomentTime | None
    destroyed: MomentTime | None


class LifeOut(Wire):
    """A key's whole life. Its uses are counted; everything else is told, up to 1,000 moments."""

    key: KeyOut
    verbs: VerbsOut
    moments: list[MomentOut]
    more: bool
    uses: int
    first_use: MomentTime | None
    last_use: MomentTime | None

    @classmethod
    def of(cls, life: Life) -> Self:
        return cls(
            key=KeyOut.of(life.key),
            verbs=VerbsOut(**life.verbs),
            moments=[MomentOut.of(one) for one in life.moments],
            **{name: getattr(life, name) for name in ("more", "uses", "first_use", "last_use")},
        )


class EndingOut(Wire):
    """How many of one class or profile, and one scope, end when. Nothing is counted twice."""

    what: Literal["key", "certificate"]
    group: str
    scope: str
    ended: int
    within_30: int
    within_90: int
    within_180: int

    @classmethod
    def of(cls, one: Ending) -> Self:
        return cls(**{name: getattr(one, name) for name in cls.model_fields})


class ForecastOut(Wire):
    """What ends within 180 days: of keys the time to protect, of certificates their validity."""

    items: list[EndingOut]
