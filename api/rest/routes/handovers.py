"""Handovers: keys that custodians carry in and out. No component comes here in clear."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.rest.auth import V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.common import Cursor, Id, Limit, ReasonIn
from api.rest.schemas.handovers import BagIn, DeliveryIn, HandedOut, HandoverOut, HandoversOut
from keyvault.operations import handovers

router = APIRouter(tags=["handovers"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
_CHANGE = documented(403, 404, 408, 409, 413, 415)
_ONE = "/v1/handovers/{request_id:id}"


@router.get("/v1/handovers", operation_id="list_handovers", responses=_READ)
def list_handovers(
    vault: V,
    who: Who,
    after: Annotated[Cursor | None, Query()] = None,
    limit: Limit = 50,
) -> HandoversOut:
    """List handovers, newest first."""
    items, following = handovers.page(vault, who, after, limit)
    return HandoversOut(items=[HandoverOut.of(one) for one in items], next=following)


@router.get(_ONE, operation_id="show_handover", responses=_READ)
def show_handover(request_id: Id, vault: V, who: Who) -> HandoverOut:
    """Return a handover by the id of its request, with the gate's signed statement."""
    return HandoverOut.of(handovers.get(vault, who, request_id))


@router.post(f"{_ONE}/deliveries", operation_id="deliver", responses=_CHANGE)
def deliver(request_id: Id, body: DeliveryIn, vault: V, who: Who) -> HandedOut:
    """Bring one's part, sealed for the gate, or collect it; the same again has the same answer."""
    return HandedOut.of(handovers.deliver(vault, who, request_id, body.read(), body.signature))


@router.post(f"{_ONE}/aborts", operation_id="abort_handover", responses=_CHANGE)
def abort_handover(request_id: Id, body: ReasonIn, vault: V, who: Who) -> HandoverOut:
    """End a handover. One custodian is enough, and nothing is made."""
    return HandoverOut.of(handovers.abort(vault, who, request_id, body.reason))


@router.post(f"{_ONE}/bags", operation_id="record_bag", responses=_CHANGE)
def record_bag(request_id: Id, body: BagIn, vault: V, who: Who) -> HandoverOut:
    """Record the bag that a component was put into, or that it came back."""
    step = handovers.seal_bag if body.step == "sealed" else handovers.return_bag
    return HandoverOut.of(step(vault, who, request_id, body.number, body.bag))
