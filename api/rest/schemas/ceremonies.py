"""Ceremonies on the wire: what was begun, and what became of it."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field

from api.rest.schemas.common import Bytes, Id, Item, Moment, Page, Wire
from keyvault.domain.ceremonies import Ceremony


class CeremonyIn(Wire):
    """The script, byte for byte, and the id that the ceremony has from then on."""

    id: Id
    script: Item


class TranscriptIn(Wire):
    """A transcript in its canonical form."""

    transcript: Item


class TranscriptOut(Wire):
    """A transcript, byte for byte as it was handed in; `sha256` is that of these bytes."""

    ceremony: UUID
    sha256: str
    transcript: Annotated[Bytes, Field(json_schema_extra={"contentEncoding": "base64"})]


class CeremonyOut(Wire):
    """A ceremony. While it is open it has no transcript."""

    id: UUID
    title: str
    script_sha256: str
    started_at: Moment
    started_by: str
    outcome: Literal["open", "completed", "aborted"]
    sha256: str
    deviations: int
    closed_at: Moment | None
    closed_by: str

    @classmethod
    def of(cls, ceremony: Ceremony) -> Self:
        fields: dict[str, Any] = {name: getattr(ceremony, name) for name in cls.model_fields}
        return cls(**fields)


class CeremoniesOut(Page[CeremonyOut]):
    """Ceremonies, newest first."""
