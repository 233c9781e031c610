"""Ceremonies: begin one, hand in its transcript, and the register of both."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.ceremonies import (
    CeremoniesOut,
    CeremonyIn,
    CeremonyOut,
    TranscriptIn,
    TranscriptOut,
)
from api.rest.schemas.common import Cursor, Id, Limit
from keyvault.operations import ceremonies

router = APIRouter(tags=["ceremonies"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
_CHANGE = documented(403, 404, 408, 409, 413, 415)
_ALL = "/v1/ceremonies"
_ONE = f"{_ALL}/{{ceremony_id:id}}"


@router.post(_ALL, status_code=201, operation_id="start_ceremony", responses=_CHANGE)
def start_ceremony(body: CeremonyIn, vault: V, who: Who, repeat: Repeat) -> CeremonyOut:
    """Write down that a ceremony begins, by which script."""
    return CeremonyOut.of(ceremonies.start(vault, who, body.id, body.script, repeat))


@router.get(_ALL, operation_id="list_ceremonies", responses=documented(403))
def list_ceremonies(
    vault: V,
    who: Who,
    after: Annotated[Cursor | None, Query()] = None,
    limit: Limit = 50,
) -> CeremoniesOut:
    """List ceremonies, newest first."""
    items, following = ceremonies.page(vault, who, after, limit)
    return CeremoniesOut(items=[CeremonyOut.of(one) for one in items], next=following)


@router.get(_ONE, operation_id="show_ceremony", responses=_READ)
def show_ceremony(ceremony_id: Id, vault: V, who: Who) -> CeremonyOut:
    """Show a ceremony: whether it has ended, how, and the hash of its transcript."""
    return CeremonyOut.of(ceremonies.get(vault, who, ceremony_id))


@router.post(f"{_ONE}/transcript", operation_id="close_ceremony", responses=_CHANGE)
def close_ceremony(
    ceremony_id: Id, body: TranscriptIn, vault: V, who: Who, repeat: Repeat
) -> CeremonyOut:
    """Hand in the transcript: every signature in it is checked, and it goes into the log."""
    return CeremonyOut.of(ceremonies.close(vault, who, ceremony_id, body.transcript, repeat))


@router.get(f"{_ONE}/transcript", operation_id="show_transcript", responses=_READ)
def show_transcript(ceremony_id: Id, vault: V, who: Who) -> TranscriptOut:
    """Return the transcript, byte for byte."""
    data = ceremonies.transcript(vault, who, ceremony_id)
    sha256 = ceremonies.get(vault, who, ceremony_id).sha256
    return TranscriptOut(ceremony=ceremony_id, sha256=sha256, transcript=data)
