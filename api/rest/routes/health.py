"""Health, figures, random bytes, and the document that describes all of this."""

from base64 import b64encode
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from api.rest.auth import PerhapsWho, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.health import AliveOut, ReadyOut
from api.rest.schemas.use import RandomIn, RandomOut
from keyvault.operations import figures, health, use

router = APIRouter(tags=["service"], dependencies=[Depends(known_parameters)])
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@router.get(
    "/v1/health/alive",
    operation_id="is_alive",
    responses=documented(),
    openapi_extra={"security": []},
)
async def is_alive() -> AliveOut:
    """Say that this process answers."""
    return AliveOut()


@router.get(
    "/v1/health/ready",
    operation_id="is_ready",
    response_model=ReadyOut,
    responses={
        **documented(),
        503: {
            "description": "Not ready, and which part is the reason",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/ReadyOut"}},
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
            },
        },
    },
    openapi_extra={"security": []},
)
def is_ready(vault: V, who: PerhapsWho) -> Response:
    """Say whether a signature could be made now. Reasons are told to known callers only."""
    answer = ReadyOut.of(health.ready(vault), told=who is not None)
    return Response(
        answer.model_dump_json(), 200 if answer.ready else 503, media_type="application/json"
    )


@router.post(
    "/v1/random",
    status_code=201,
    operation_id="random_bytes",
    responses=documented(403, 408, 413, 415, 502),
)
async def random_bytes(body: RandomIn, vault: V, who: Who) -> RandomOut:
    """Return bytes of the device's generator."""
    data = await use.random(vault, who, body.size)
    return RandomOut(bytes=b64encode(data).decode())


@router.get(
    "/metrics",
    operation_id="show_metrics",
    response_class=Response,
    responses={
        **documented(403),
        200: {
            "description": "Prometheus text",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
    },
)
def show_metrics(request: Request, vault: V, who: Who) -> Response:
    """Return figures for Prometheus."""
    request.app.state.gauges.show(figures.read(vault, who))
    return Response(request.app.state.telemetry.exposition(), media_type=_EXPOSITION)


@router.get(
    "/openapi.json",
    operation_id="show_openapi",
    response_model=dict[str, Any],
    responses=documented(),
)
async def show_openapi(request: Request, who: Who) -> JSONResponse:  # noqa: ARG001  (known caller)
    """Return this description of the API (OpenAPI 3.1)."""
    return JSONResponse(request.app.openapi())
