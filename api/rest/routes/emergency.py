"""Emergencies: sealed codes, and the one thing beside logging in that needs no certificate."""

import asyncio
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response

from api.rest.auth import V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.common import Cursor, Id, Limit
from api.rest.schemas.emergency import (
    CodeIn,
    CodeOut,
    CodesOut,
    EmergencyIn,
    EmergencyOut,
    LostTokenIn,
    LostTokenOut,
    NewCodeOut,
)
from keyvault.domain.errors import VaultError
from keyvault.operations import emergency

router = APIRouter(tags=["emergency"], dependencies=[Depends(known_parameters)])
T = TypeVar("T")
_CLAIM = "emergency-code"  # what failures are counted as: a code names nobody


@router.post(
    "/v1/emergency-codes",
    status_code=201,
    operation_id="make_emergency_code",
    responses=documented(403, 408, 413, 415),
)
def make_emergency_code(body: CodeIn, vault: V, who: Who) -> NewCodeOut:
    """Make a code that stops one key, once, when its owner has no token. It is told this once."""
    return NewCodeOut.made(*emergency.make(vault, who, body.days))


@router.get("/v1/emergency-codes", operation_id="list_emergency_codes", responses=documented(403))
def list_emergency_codes(
    vault: V, who: Who, after: Annotated[Cursor | None, Query()] = None, limit: Limit = 50
) -> CodesOut:
    """List one's own codes, the newest first."""
    items, following = emergency.mine(vault, who, after, limit)
    return CodesOut(items=[CodeOut.of(one) for one in items], next=following)


@router.delete(
    "/v1/emergency-codes/{request_id:id}",
    status_code=204,
    operation_id="withdraw_emergency_code",
    responses=documented(403, 404),
)
def withdraw_emergency_code(request_id: Id, vault: V, who: Who) -> Response:
    """End a code whose envelope was opened, or is lost."""
    emergency.withdraw(vault, who, request_id)
    return Response(status_code=204)


@router.post(
    "/v1/emergencies",
    status_code=201,
    operation_id="stop_in_emergency",
    responses=documented(403, 404, 408, 409, 413, 415),
    openapi_extra={"security": []},
)
async def stop_in_emergency(body: EmergencyIn, request: Request, vault: V) -> EmergencyOut:
    """Suspend a key, or declare it compromised, with a sealed code and without a certificate."""
    told = body.code, body.key, body.act, body.reason, body.known_at
    return EmergencyOut.of(await _tried(request, emergency.stop, vault, *told))


@router.post(
    "/v1/emergencies/tokens",
    status_code=201,
    operation_id="report_token_in_emergency",
    responses=documented(403, 404, 408, 409, 413, 415),
    openapi_extra={"security": []},
)
async def report_token_in_emergency(body: LostTokenIn, request: Request, vault: V) -> LostTokenOut:
    """Report a token as lost or stolen, with a sealed code and without a certificate."""
    told = body.code, body.token, body.reason, body.missing_since
    return LostTokenOut.of(await _tried(request, emergency.stop_token, vault, *told))


async def _tried(request: Request, act: Callable[..., T], vault: V, *told: object) -> T:
    """Act, and write down who failed: a code can be guessed at."""
    try:
        return await asyncio.to_thread(act, vault, *told)
    except VaultError as error:
        writing = request.app.state.failures.note(_CLAIM, "", str(error))
        if writing is not None:
            await asyncio.wait([writing])
        raise
