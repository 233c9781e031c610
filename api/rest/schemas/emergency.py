"""Emergencies on the wire: codes that are made to be sealed, and keys that are stopped by one."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field

from api.rest.schemas.common import ABSENT, WHOLE, Id, Instant, Moment, Page, ReasonIn, Text, Wire
from keyvault.domain.emergency import MAX_DAYS, EmergencyCode, Stop
from keyvault.domain.keys import Key, KeyState
from keyvault.domain.tokens import Token, TokenState


class CodeIn(Wire):
    """For how long a code is to be good."""

    days: Annotated[int, Field(ge=1, le=MAX_DAYS), WHOLE] = 180


class CodeOut(Wire):
    """What is known of a sealed code. Nobody can be told the code itself again."""

    id: UUID
    made_at: Moment
    until: Moment
    used_at: Moment | None
    use: str

    @classmethod
    def of(cls, code: EmergencyCode) -> Self:
        return cls(**{name: getattr(code, name) for name in cls.model_fields})


class NewCodeOut(CodeOut):
    """A code, this once: print it, seal it, and keep it nowhere else."""

    code: str

    @classmethod
    def made(cls, made: EmergencyCode, code: str) -> Self:
        return cls(**{name: getattr(made, name) for name in CodeOut.model_fields}, code=code)


class CodesOut(Page[CodeOut]):
    """One's own codes, the newest first."""


class EmergencyIn(ReasonIn):
    """A key to be stopped at once, by somebody who has no token at hand."""

    code: Text
    key: Id
    act: Stop
    known_at: Instant = ABSENT


class EmergencyOut(Wire):
    """The key was stopped."""

    key: UUID
    state: KeyState

    @classmethod
    def of(cls, key: Key) -> Self:
        return cls(key=key.id, state=key.state)


class LostTokenIn(ReasonIn):
    """A token that is lost or stolen, reported by somebody who has none at hand."""

    code: Text
    token: Id
    missing_since: Instant = ABSENT


class LostTokenOut(Wire):
    """The token opens nothing any more."""

    token: UUID
    state: TokenState

    @classmethod
    def of(cls, token: Token) -> Self:
        return cls(token=token.id, state=token.state)
