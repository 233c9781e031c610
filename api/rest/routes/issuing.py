"""Issuing jobs, and the sessions in which a desk lends its reader to the service."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.common import Cursor, Id, Limit
from api.rest.schemas.issuing import (
    AbandonIn,
    AnswerIn,
    BatchOut,
    CertificatesIn,
    HeldIn,
    IssueIn,
    JobListOut,
    JobOut,
    JobsOut,
    MessageOut,
    ReportedOut,
    ReportIn,
    RequestsOut,
    ServiceIn,
    SessionIn,
    StationOut,
    StationsOut,
    TraceOut,
    TracesOut,
)
from keyvault.domain.issuing import Standing
from keyvault.operations import issuing, mailers, outside, servicing, stations, traces

router = APIRouter(tags=["issuing"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
_CHANGE = documented(403, 404, 408, 409, 413, 415)
_AT_A_DESK = documented(403, 404, 408, 409, 413, 415, 502, 503)
_JOBS = "/v1/issuing/jobs"
_PDF = "application/pdf"
_NDJSON = "application/x-ndjson"
_SESSIONS = "/v1/issuing/sessions"
_STATIONS = "/v1/issuing/stations"


@router.post(_JOBS, status_code=201, operation_id="order_issue", responses=_CHANGE)
def order_issue(body: IssueIn, vault: V, who: Who, repeat: Repeat) -> JobListOut:
    """Order the personalising of allocated tokens: a job for each, one batch for several."""
    plan = {str(k): str(v) for k, v in body.plan.items()} if body.plan else None
    jobs = issuing.order(vault, who, body.tokens, body.pin_route, plan, repeat, body.issuer)
    return JobListOut(jobs=[JobOut.of(job) for job in jobs])


@router.get(_JOBS, operation_id="list_issues", responses=_READ)
def list_issues(
    vault: V,
    who: Who,
    standing: Annotated[Standing | None, Query()] = None,
    batch: Annotated[str | None, Query(max_length=40)] = None,
    after: Annotated[Cursor | None, Query()] = None,
    limit: Limit = 50,
) -> JobsOut:
    """List issuing jobs, newest first."""
    filters = {"standing": standing and str(standing), "batch": batch}
    items, following = issuing.page(vault, who, filters, after, limit)
    return JobsOut(items=[JobOut.of(job) for job in items], next=following)


@router.get(f"{_JOBS}/{{job_id:id}}", operation_id="show_issue", responses=_READ)
def show_issue(job_id: Id, vault: V, who: Who) -> JobOut:
    """Say how far a job is, and what to do next."""
    return JobOut.of(issuing.get(vault, who, job_id))


@router.get("/v1/issuing/batches/{batch_id:id}", operation_id="show_issue_batch", responses=_READ)
def show_issue_batch(batch_id: Id, vault: V, who: Who) -> BatchOut:
    """Reconcile a batch: tokens in, out and spoiled."""
    return BatchOut.model_validate(issuing.batch(vault, who, str(batch_id)))


@router.post(f"{_JOBS}/{{job_id:id}}/abandonment", operation_id="abandon_issue", responses=_CHANGE)
def abandon_issue(job_id: Id, body: AbandonIn, vault: V, who: Who) -> JobOut:
    """End a job for good and revoke the certificates that it led to."""
    return JobOut.of(issuing.abandon(vault, who, job_id, body.reason))


@router.get(f"{_JOBS}/{{job_id:id}}/requests", operation_id="show_issue_requests", responses=_READ)
def show_issue_requests(job_id: Id, vault: V, who: Who) -> RequestsOut:
    """Give the requests that the token's keys signed for another authority."""
    return RequestsOut(requests=outside.requests(vault, who, job_id))


@router.get(f"{_JOBS}/{{job_id:id}}/traces", operation_id="list_traces", responses=_READ)
def list_traces(job_id: Id, vault: V, who: Who) -> TracesOut:
    """List the sessions in which a job's token was in a reader."""
    return TracesOut(items=[TraceOut.of(one) for one in traces.of_job(vault, who, job_id)])


@router.get(
    "/v1/issuing/traces/{trace_id:id}",
    operation_id="show_trace",
    response_class=Response,
    responses={
        **_READ,
        200: {
            "description": "A line of JSON that says whose it is, then one for each exchange",
            "content": {_NDJSON: {"schema": {"type": "string"}}},
        },
    },
)
def show_trace(trace_id: Id, vault: V, who: Who) -> Response:
    """Give what went to a token in one session and what came back, without any secret."""
    return Response(traces.get(vault, who, trace_id).lines, media_type=_NDJSON)


@router.post(
    f"{_JOBS}/{{job_id:id}}/certificates",
    operation_id="take_certificates",
    responses=documented(403, 404, 408, 409, 413, 415, 422),
)
def take_certificates(job_id: Id, body: CertificatesIn, vault: V, who: Who) -> JobOut:
    """Take another authority's certificates, each held against its request."""
    return JobOut.of(outside.take(vault, who, job_id, body.certificates))


@router.post(
    f"{_JOBS}/{{job_id:id}}/mailer",
    operation_id="print_mailer",
    response_class=Response,
    responses={
        **_CHANGE,
        200: {
            "description": "The mailer",
            "content": {_PDF: {"schema": {"type": "string", "format": "binary"}}},
        },
    },
)
def print_mailer(job_id: Id, vault: V, who: Who) -> Response:
    """Print the PIN of a finished token, once (PDF). Who made the token does not print it."""
    return Response(mailers.pin_mailer(vault, who, job_id), media_type=_PDF)


@router.post(
    f"{_JOBS}/{{job_id:id}}/sessions",
    status_code=201,
    operation_id="begin_session",
    responses=_AT_A_DESK,
)
def begin_session(job_id: Id, body: SessionIn, vault: V, who: Who) -> MessageOut:
    """A token is in a reader: begin, or go on where it was pulled."""
    atr = bytes.fromhex(body.atr)
    session, first = issuing.begin(vault, who, job_id, body.station, atr, body.protocol)
    return MessageOut.of(session, first)


@router.post(
    "/v1/issuing/tokens/{token_id:id}/sessions",
    status_code=201,
    operation_id="begin_service",
    responses=_AT_A_DESK,
)
def begin_service(token_id: Id, body: ServiceIn, vault: V, who: Who) -> MessageOut:
    """A finished token is in a reader at a station: unblock it, rekey it, wipe it."""
    session, first = servicing.begin(vault, who, token_id, body.card(body.station))
    return MessageOut.of(session, first)


@router.post(
    "/v1/tokens/{token_id:id}/sessions",
    status_code=201,
    operation_id="begin_before_holder",
    responses=_AT_A_DESK,
)
def begin_before_holder(token_id: Id, body: HeldIn, vault: V, who: Who) -> MessageOut:
    """A token is in a reader before its holder: they choose a PIN, or it is unblocked."""
    session, first = servicing.begin_before_holder(vault, who, token_id, body.card())
    return MessageOut.of(session, first)


@router.post(f"{_SESSIONS}/{{session_id:id}}/answers", operation_id="answer", responses=_AT_A_DESK)
def answer(session_id: Id, body: AnswerIn, vault: V, who: Who) -> MessageOut:
    """Hand in what the token answered, and get what is next."""
    return MessageOut.of(session_id, issuing.exchange(vault, who, session_id, body.read()))


@router.delete(
    f"{_SESSIONS}/{{session_id:id}}",
    status_code=204,
    operation_id="end_session",
    responses=_READ,
)
def end_session(session_id: Id, vault: V, who: Who) -> None:
    """Leave: to the job, the token was pulled."""
    issuing.hang_up(vault, who, session_id)


@router.get(_STATIONS, operation_id="list_stations", responses=documented(403))
def list_stations(vault: V, who: Who) -> StationsOut:
    """Say of every station whether its reader is there, and what is unfinished there."""
    return StationsOut(items=[StationOut.of(one) for one in stations.outlooks(vault, who)])


@router.post(
    f"{_STATIONS}/reports",
    operation_id="report_station",
    responses=documented(403, 408, 413, 415),
)
def report_station(body: ReportIn, vault: V, who: Who) -> ReportedOut:
    """Speak for a station: its reader is there, or gone, or its program ends."""
    again = stations.report(vault, who, body.station, body.state, body.reader)
    return ReportedOut(again=again)
