"""The log: events, checkpoints, proofs, and the evidence that auditors take away."""

from collections.abc import Callable, Iterator
from functools import partial
from os import SEEK_END
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.audit import (
    About,
    Actor,
    EventOut,
    EventsOut,
    EvidenceIn,
    HandOverIn,
    InclusionOut,
    Index,
    LifeMomentsOut,
    PackIn,
    ProofOut,
    Size,
    Stream,
)
from api.rest.schemas.common import EventCursor, Id, Instant, Limit, ScopeText
from api.rest.schemas.retention import (
    LogHoldIn,
    LogHoldOut,
    LogHoldsOut,
    PurgeCertificateOut,
)
from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.scopes import Scope
from keyvault.operations import audit, evidence, packs, retention
from keyvault.operations.audit import EventQuery
from keyvault.operations.evidence import Receipt

router = APIRouter(tags=["audit"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
IN_MEMORY = 4_194_304  # bytes of an export; larger ones go to a temporary file
PART = 262_144  # bytes
_ZIP = {
    **documented(403, 404, 408, 409, 413, 415, 502),
    200: {
        "description": "The evidence, with the program that checks it",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    },
}


@router.get("/v1/audit/events", operation_id="list_events", responses=_READ)
def list_events(  # noqa: PLR0913  (each filter has its name)
    *,
    vault: V,
    who: Who,
    type: EventType | None = None,  # noqa: A002  (the field's name)
    stream: Annotated[Stream | None, Query()] = None,
    actor: Annotated[Actor | None, Query()] = None,
    scope: Annotated[ScopeText | None, Query()] = None,
    outcome: Outcome | None = None,
    since: Annotated[Instant | None, Query()] = None,
    until: Annotated[Instant | None, Query()] = None,
    after: Annotated[EventCursor | None, Query()] = None,
    limit: Limit = 50,
) -> EventsOut:
    """List events, oldest first. `since` is included, `until` is not."""
    query = EventQuery(
        type, outcome, stream, actor, Scope.parse(scope) if scope else None, since, until
    )
    return EventsOut.of(*audit.page(vault, who, query, after, limit))


@router.get("/v1/audit/life", operation_id="tell_life", responses=_READ)
def tell_life(
    about: Annotated[About, Query()],
    vault: V,
    who: Who,
    after: Annotated[EventCursor | None, Query()] = None,
    limit: Limit = 50,
) -> LifeMomentsOut:
    """Tell in plain words what happened to a key, token or person, or was done by them."""
    return LifeMomentsOut.of(*audit.life(vault, who, about, after, limit))


@router.get("/v1/audit/events/{index}", operation_id="show_event", responses=_READ)
def show_event(index: Index, vault: V, who: Who) -> EventOut:
    return EventOut.of(*audit.event(vault, who, index))


@router.get(
    "/v1/audit/checkpoint",
    operation_id="show_checkpoint",
    response_class=PlainTextResponse,
    responses=_READ,
)
def show_checkpoint(
    vault: V, who: Who, size: Annotated[Size | None, Query()] = None
) -> PlainTextResponse:
    """Return the newest signed note (C2SP tlog-checkpoint), or the first that covers `size`.

    Behind the log's own signatures stand the cosignatures that witnesses have given so far.
    """
    return PlainTextResponse(audit.checkpoint(vault, who, size))


@router.get("/v1/audit/proofs/inclusion", operation_id="prove_inclusion", responses=_READ)
def prove_inclusion(index: Index, size: Size, vault: V, who: Who) -> InclusionOut:
    """Prove that the event `index` stands in the tree of `size`, and say its level."""
    hashes, level = audit.inclusion(vault, who, index, size)
    return InclusionOut(hashes=[h.hex() for h in hashes], level=level)


@router.get("/v1/audit/proofs/consistency", operation_id="prove_consistency", responses=_READ)
def prove_consistency(old: Size, new: Size, vault: V, who: Who) -> ProofOut:
    """Prove that the tree of `new` begins with the tree of `old`."""
    return ProofOut(hashes=[h.hex() for h in audit.consistency(vault, who, old, new)])


@router.post(
    "/v1/audit/exports",
    operation_id="export_evidence",
    response_class=Response,
    responses=_ZIP,
)
def export_evidence(body: EvidenceIn, vault: V, who: Who) -> StreamingResponse:
    """Take away a part of the log that proves itself: one ZIP."""
    return _sent(partial(evidence.export, vault, who, body.wanted()))


@router.post(
    "/v1/audit/packs",
    operation_id="export_pack",
    response_class=Response,
    responses=_ZIP,
)
def export_pack(body: PackIn, vault: V, who: Who) -> StreamingResponse:
    """Take away all events of one scope, and nothing of any other, each with its own proof."""
    return _sent(partial(packs.export, vault, who, Scope.parse(body.scope)))


def _sent(write: Callable[[IO[bytes]], Receipt]) -> StreamingResponse:
    file = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  (closed when it has been sent)
    try:
        receipt = write(file)
    except BaseException:
        file.close()
        raise
    headers = {
        "manifest-sha256": receipt.manifest_sha256,
        "content-length": str(file.seek(0, SEEK_END)),
        "content-disposition": 'attachment; filename="evidence.zip"',
    }
    return StreamingResponse(_parts(file), media_type="application/zip", headers=headers)


@router.post(
    "/v1/audit/hand-overs",
    operation_id="hand_evidence_over",
    status_code=201,
    responses=documented(403, 409, 415, 422),
)
def hand_evidence_over(body: HandOverIn, vault: V, who: Who) -> dict[str, Any]:
    """Write down that a bundle changed hands; the answer is the line for its file of custody."""
    return evidence.hand_over(vault, who, body.entry, body.signature)


@router.post(
    "/v1/audit/holds",
    operation_id="hold_events",
    status_code=201,
    responses=documented(403, 408, 409, 413, 415),
)
def hold_events(body: LogHoldIn, vault: V, who: Who, repeat: Repeat) -> LogHoldOut:
    """Keep what events say from being purged: one person is enough. Several lift it."""
    return LogHoldOut.of(retention.hold(vault, who, body.said(), repeat))


@router.get("/v1/audit/holds", operation_id="list_event_holds", responses=documented(403))
def list_event_holds(vault: V, who: Who) -> LogHoldsOut:
    """List the holds on events that stand."""
    return LogHoldsOut.of(retention.holds(vault, who))


@router.get(
    "/v1/audit/purges/{request_id}",
    operation_id="certify_purge",
    responses=documented(403, 404, 502),
)
def certify_purge(request_id: Id, vault: V, who: Who) -> PurgeCertificateOut:
    """Have the evidence key sign what was purged by a request, and who decided it."""
    return PurgeCertificateOut.of(retention.certificate(vault, who, request_id))


def _parts(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while part := file.read(PART):
            yield part
