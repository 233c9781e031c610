"""Originator counters: taking them, seeing how far they are, and leaving some out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas import agreement as wire
from api.rest.schemas.common import Limit
from keyvault.domain.counters import Series
from keyvault.operations import counters

router = APIRouter(tags=["counters"], dependencies=[Depends(known_parameters)])
_READ = documented(403)
_ACT = documented(403, 408, 409, 413, 415)


@router.get("/v1/counters", operation_id="list_counters", responses=_READ)
def list_counters(
    vault: V,
    who: Who,
    after: Annotated[wire.SeriesCursor | None, Query()] = None,
    limit: Limit = 50,
) -> wire.CountersOut:
    """List the series, oldest first. A system sees those of its organisation."""
    items, following = counters.page(vault, who, after, limit)
    return wire.CountersOut(items=[wire.CounterOut.of(each) for each in items], next=following)


@router.post(
    "/v1/counters/reservations", status_code=201, operation_id="reserve_counters", responses=_ACT
)
def reserve_counters(
    body: wire.ReservationIn, vault: V, who: Who, repeat: Repeat
) -> wire.ReservationOut:
    """Take counters that nobody else ever gets; those that are not used are lost."""
    recipient = body.recipient or ""
    return wire.ReservationOut.of(
        counters.reserve(vault, who, body.cell_usage, recipient, body.count, repeat)
    )


@router.post(
    "/v1/counters/floors", status_code=201, operation_id="raise_counter_floor", responses=_ACT
)
def raise_counter_floor(body: wire.FloorIn, vault: V, who: Who, repeat: Repeat) -> wire.CounterOut:
    """Leave out all counters up to a floor, as after a change of a device's credentials."""
    scope = body.scope.read()
    series = Series.of(scope, body.cell_usage, body.recipient or "")
    floor = int(body.floor, 16)
    return wire.CounterOut.of(
        counters.raise_floor(vault, who, series, scope, floor, body.reason, repeat)
    )
