"""Reconciling register and tokens: take a report, read it, sign it, print it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.common import Cursor, Id, Limit
from api.rest.schemas.reconciliation import (
    ReconciliationLine,
    ReconciliationOut,
    ReconciliationsOut,
    SignedIn,
)
from keyvault.operations import reconciliation
from keyvault.operations.printing import reconciliation_paper

router = APIRouter(tags=["registers"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
_CHANGE = documented(403, 404, 408, 409, 413, 415, 502)
_ONE = "/v1/reconciliations/{request_id:id}"
_PAPER = {"type": "string", "format": "binary"}
_MEDIA = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}


@router.post(
    "/v1/reconciliations",
    status_code=201,
    operation_id="take_reconciliation",
    responses=documented(403, 408, 409, 415, 502),
)
def take_reconciliation(vault: V, who: Who, repeat: Repeat) -> ReconciliationOut:
    """Hold the register of keys against the objects that are really on each token."""
    return ReconciliationOut.of(reconciliation.take(vault, who, repeat))


@router.get("/v1/reconciliations", operation_id="list_reconciliations", responses=documented(403))
def list_reconciliations(
    vault: V, who: Who, after: Annotated[Cursor | None, Query()] = None, limit: Limit = 50
) -> ReconciliationsOut:
    """List reports, the newest first."""
    items, following = reconciliation.page(vault, who, after, limit)
    return ReconciliationsOut(items=[ReconciliationLine.of(one) for one in items], next=following)


@router.get(_ONE, operation_id="show_reconciliation", responses=_READ)
def show_reconciliation(request_id: Id, vault: V, who: Who) -> ReconciliationOut:
    """Show a report, and who signed it."""
    return ReconciliationOut.of(reconciliation.get(vault, who, request_id))


@router.post(f"{_ONE}/signatures", operation_id="sign_reconciliation", responses=_CHANGE)
def sign_reconciliation(
    request_id: Id, body: SignedIn, vault: V, who: Who, repeat: Repeat
) -> ReconciliationOut:
    """Sign that one was shown the report with this digest."""
    told = body.statement, body.signature
    return ReconciliationOut.of(reconciliation.sign(vault, who, request_id, *told, repeat))


@router.get(
    f"{_ONE}/paper",
    operation_id="print_reconciliation",
    response_class=Response,
    responses={
        **_READ,
        200: {
            "description": "The report to be printed and put into a file",
            "content": {media.partition(";")[0]: {"schema": _PAPER} for media in _MEDIA.values()},
        },
    },
)
def print_reconciliation(
    request_id: Id,
    vault: V,
    who: Who,
    format: Literal["html", "pdf"] = "html",  # noqa: A002  (its name in the URL)
) -> Response:
    """Print a report with who signed it, as a page or as PDF."""
    paper = reconciliation_paper(reconciliation.get(vault, who, request_id))
    content = paper.pdf() if format == "pdf" else paper.html().encode()
    return Response(content, media_type=_MEDIA[format])
