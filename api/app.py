"""Puts the REST API together: routes, the layer before them, and the document of it all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from api.callers import Callers
from api.front import Front
from api.lockout import Lockout
from api.names import REQUEST_ID
from api.rates import Rates
from api.refusals import Refusals
from api.rest import hot
from api.rest.problems import STATUS, ProblemOut, framework_problem, problem_of
from api.rest.routes import (
    audit,
    backups,
    ca,
    ceremonies,
    certificates,
    compromise,
    counters,
    custody,
    emergency,
    files,
    handovers,
    health,
    issuing,
    keks,
    keys,
    life,
    login,
    people,
    reconciliation,
    registers,
    requests,
    tokens,
)
from api.rest.schemas.keys import JwkOut
from api.telemetry import Gauges, Telemetry
from hsm.errors import HsmError
from keyvault.domain.errors import VaultError
from keyvault.operations import connections
from keyvault.operations.people import locked_out, login_failed
from keyvault.operations.vault import Vault

VERSION = "1.0.0"
_MUTUAL_TLS = {
    "type": "mutualTLS",
    "description": "A person's session certificate or an enrolled system's own certificate",
}


# What the API has, in the order of its document.
ROOMS = (
    *(login, keys, custody, handovers, compromise, life, certificates, tokens, files, ca),
    *(counters, issuing, backups, requests, ceremonies, emergency, keks),
    *(reconciliation, registers, people, audit, health),
)


class VaultApi(FastAPI):
    """FastAPI with `Front` as its outermost layer and its document completed."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Go to `Front` at once: the framework's own outermost layers cost 3 % of a signature."""
        if self.middleware_stack is None or scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self.middleware_stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        state = self.state
        state.front = front = Front(
            super().build_middleware_stack(),
            state.callers,
            state.vault,
            state.telemetry,
            state.refusals,
            state.rates,
            state.vault.settings.api.body_limit,
        )
        return front

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = _document(self)
        return self.openapi_schema


def create_app(vault: Vault) -> VaultApi:
    """Make the application for one vault. No documentation pages: they load from elsewhere."""
    app = VaultApi(
        title="keyvault",
        version=VERSION,
        lifespan=_lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    telemetry = Telemetry()
    app.state.vault = vault
    app.state.telemetry = telemetry
    app.state.gauges = Gauges(telemetry.registry)
    _against_abuse(app.state, vault, telemetry)
    for kind in (*STATUS, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer)
    for room in ROOMS:
        app.router.routes.extend(room.router.routes)
    app.router.routes.extend(hot.routes().routes)
    return app


def _against_abuse(state: Any, vault: Vault, telemetry: Telemetry) -> None:
    state.refusals = Refusals(
        partial(connections.refused, vault), telemetry.connections_refused.inc
    )
    state.failures = Refusals(partial(login_failed, vault), telemetry.logins_failed.inc)
    state.locks = Refusals(partial(locked_out, vault), telemetry.lockouts.inc)
    state.limited = Refusals(partial(connections.limited, vault), telemetry.rate_limited.inc)
    state.lockout = Lockout(state.locks.note)
    state.callers = Callers(vault, Lockout(state.locks.note))
    state.rates = Rates(vault.settings.api.rates, state.limited.note)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        await app.state.vault.start()
    except (VaultError, HsmError) as error:
        text = f"{error}; {error.next_step}"
        structlog.get_logger().error("cannot start", code=error.code, text=text)
        raise
    try:
        yield
    finally:
        for noted in ("refusals", "failures", "locks", "limited"):
            await getattr(app.state, noted).settled()
        await app.state.vault.stop()


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status is HTTPStatus.METHOD_NOT_ALLOWED:
        problem = framework_problem(problem.status, allow=_allowed(request))
    return problem.response(request.scope[REQUEST_ID])


def _allowed(request: Request) -> str:
    """Every method of this path: Starlette names those of the first route alone."""
    path = request.scope["path"]
    fitting = (route for route in request.app.routes if route.path_regex.match(path))
    return ", ".join(sorted({method for route in fitting for method in route.methods}))


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description="Key material under dual control. Every error is an RFC 9457 problem.",
        routes=app.routes,
    )
    template = "#/components/schemas/{model}"
    models = [(model, "serialization") for model in (ProblemOut, JwkOut)]
    _, extra = models_json_schema(models, ref_template=template)  # type: ignore[arg-type]
    schemas = document["components"]["schemas"]
    schemas.update(extra["$defs"])
    schemas["Problem"] = schemas.pop("ProblemOut")
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    document["components"]["securitySchemes"] = {"mutualTls": _MUTUAL_TLS}
    document["security"] = [{"mutualTls": []}]
    return document
