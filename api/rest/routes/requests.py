"""Approval requests: reading, deciding, carrying out, withdrawing."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.common import Cursor, Id, Limit, ReasonIn
from api.rest.schemas.requests import ApprovalWire, AskIn, ExecutionOut, RequestOut, RequestsOut
from keyvault.domain.approvals import RequestState
from keyvault.domain.commands import command_of
from keyvault.operations import approvals

router = APIRouter(tags=["requests"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
_CHANGE = documented(403, 404, 408, 409, 413, 415)


@router.post("/v1/requests", status_code=202, operation_id="ask", responses=_CHANGE)
def ask(body: AskIn, vault: V, who: Who, repeat: Repeat) -> RequestOut:
    """Ask for an act that needs approvals, whichever it is."""
    command = command_of(body.command, body.parameters)
    scope = body.scope.read() if body.scope else None
    return RequestOut.of(
        approvals.ask(vault, who, command, scope, repeat, break_glass=body.break_glass)
    )


@router.get("/v1/requests", operation_id="list_requests", responses=_READ)
def list_requests(
    vault: V,
    who: Who,
    state: RequestState | None = None,
    after: Annotated[Cursor | None, Query()] = None,
    limit: Limit = 50,
) -> RequestsOut:
    """List approval requests."""
    items, following = approvals.page(vault, who, state, after, limit)
    return RequestsOut(items=[RequestOut.of(asked) for asked in items], next=following)


@router.get("/v1/requests/{request_id:id}", operation_id="show_request", responses=_READ)
def show_request(request_id: Id, vault: V, who: Who) -> RequestOut:
    """Show a request with its whole document: what approvers sign."""
    return RequestOut.of(approvals.get(vault, who, request_id))


@router.post(
    "/v1/requests/{request_id:id}/approvals",
    status_code=201,
    operation_id="decide_request",
    responses=_CHANGE,
)
def decide_request(
    request_id: Id, body: ApprovalWire, vault: V, who: Who, repeat: Repeat
) -> RequestOut:
    """Hand in a signed approval or refusal."""
    document = body.model_dump(mode="json")
    return RequestOut.of(approvals.decide(vault, who, request_id, document, repeat))


@router.post(
    "/v1/requests/{request_id:id}/executions",
    operation_id="execute_request",
    responses=documented(403, 404, 409, 413, 502),
)
def execute_request(
    request_id: Id, request: Request, vault: V, who: Who, repeat: Repeat
) -> ExecutionOut:
    """Carry out a request that has its approvals."""
    executed = approvals.execute(vault, who, request_id, repeat)
    request.app.state.callers.forget()  # it may have been a revocation
    return ExecutionOut(request=RequestOut.of(executed.request), outcome=executed.outcome)


@router.post(
    "/v1/requests/{request_id:id}/cancellations",
    operation_id="cancel_request",
    responses=_CHANGE,
)
def cancel_request(
    request_id: Id, body: ReasonIn, vault: V, who: Who, repeat: Repeat
) -> RequestOut:
    """Withdraw a request that is not under way."""
    return RequestOut.of(approvals.cancel(vault, who, request_id, body.reason, repeat))
