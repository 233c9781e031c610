"""The outermost layer: who calls, how much they may send, how long they may take, what is noted.

Nothing is parsed before it is measured, and nothing but the open paths is reached without an
identity. Hot routes are called from here, past the layers that the rare ones are glad of.
"""

import asyncio
import time
from collections import Counter
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.limits import check_shape
from api.names import BODY, PRINCIPAL, REQUEST_ID, WHOLE
from api.refusals import Refusals
from api.rest.auth import OPEN, Callers, certificate_of
from api.rest.hot import HotRoutes
from api.rest.problems import problem_of
from api.telemetry import Telemetry
from keyvault.domain.access import Principal
from keyvault.domain.errors import BusyError, NotAuthenticatedError

BODY_TIME = 10.0  # seconds until the whole body has to be there
SEND_TIME = 30.0  # seconds a reader may keep us waiting for a part of an answer
IN_FLIGHT = 1_024  # calls at once; more are told to come back
IN_FLIGHT_EACH = 128  # of one caller, so that nobody's flood fills the queue of all
HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"strict-transport-security", b"max-age=31536000"),
)


class Front:
    """ASGI in, ASGI out."""

    def __init__(
        self,
        app: Any,
        callers: Callers,
        hot: HotRoutes,
        telemetry: Telemetry,
        refusals: Refusals,
        body_limit: int,
    ) -> None:
        self._app = app
        self._callers = callers
        self._hot = hot
        self._telemetry = telemetry
        self._refusals = refusals
        self._body_limit = body_limit
        self._in_flight = 0
        self._in_flight_of: Counter[str] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        self._in_flight += 1
        try:
            await self._serve(scope, receive, answer)
        except Exception as error:  # noqa: BLE001  (the last catch: it becomes a problem)
            await self._fail(scope, receive, answer, error)
        finally:
            self._in_flight -= 1
            self._telemetry.served(scope, answer.status, time.perf_counter() - answer.started)

    async def _serve(self, scope: Any, receive: Any, answer: "_Answer") -> None:
        if self._in_flight > IN_FLIGHT:
            raise BusyError("too many calls at once", next_step="try again in a second")
        await self._identify(scope)
        who: Principal | None = scope.get(PRINCIPAL)
        caller = "" if who is None else who.actor
        self._in_flight_of[caller] += 1
        try:
            if self._in_flight_of[caller] > IN_FLIGHT_EACH:
                raise BusyError(
                    "too many calls of yours at once", next_step="try again in a second"
                )
            await self._handle(scope, receive, answer)
        finally:
            self._in_flight_of[caller] -= 1
            if not self._in_flight_of[caller]:
                del self._in_flight_of[caller]

    async def _handle(self, scope: Any, receive: Any, answer: "_Answer") -> None:
        body = await self._body(scope, receive)
        _check_type(scope, body)
        check_shape(body)
        scope[BODY] = body
        hot = self._hot.find(scope)
        if hot is not None:
            response = await hot(scope, body)
            await response(scope, receive, answer.send)
            return
        await self._app(scope, _replay(body, receive), answer.send)

    async def _identify(self, scope: Any) -> None:
        is_open = (scope["method"], scope["path"]) in OPEN
        if is_open and certificate_of(scope) is None:
            return
        try:
            scope[PRINCIPAL] = await self._callers.of(scope)
        except NotAuthenticatedError as error:
            if is_open:
                return  # an ended session is no reason not to log in
            self._refusals.note((scope.get("client") or ("",))[0], str(error))
            raise

    async def _body(self, scope: Any, receive: Any) -> bytes:
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._body_limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, headers=_CLOSE)
        if WHOLE in scope:
            return await self._parts(receive)
        async with asyncio.timeout(BODY_TIME):
            return await self._parts(receive)

    async def _parts(self, receive: Any) -> bytes:
        parts, size = [], 0
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._body_limit:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, headers=_CLOSE)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _fail(self, scope: Any, receive: Any, answer: "_Answer", error: Exception) -> None:
        if answer.status:  # too late to say anything: the client sees an answer cut off
            self._telemetry.failed(scope, error)
            if answer.complete:
                return
            raise ConnectionAbortedError from error
        if isinstance(error, TimeoutError):
            error = HTTPException(HTTPStatus.REQUEST_TIMEOUT, headers=_CLOSE)
        problem = problem_of(error)
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._telemetry.failed(scope, error)
        response: Response = problem.response(scope[REQUEST_ID])
        await response(scope, receive, answer.send)


_JSON = b"application/json"
_CLOSE = {"connection": "close"}


class _Answer:
    """What goes out: its status is remembered, its headers completed, its reader hurried."""

    __slots__ = ("_headers", "_send", "complete", "started", "status")

    def __init__(self, scope: Any, send: Any) -> None:
        self.started = time.perf_counter()
        self.status = 0
        self.complete = False
        self._send = send
        scope[REQUEST_ID] = request_id = str(uuid4())
        self._headers = [*HEADERS, (b"x-request-id", request_id.encode())]

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
            await self._send(message)
        elif message.get("more_body", False):
            async with asyncio.timeout(SEND_TIME):
                await self._send(message)
        else:
            await self._send(message)
            self.complete = True


def _replay(body: bytes, receive: Any) -> Any:
    """Give the body, already read, to a framework that reads it again."""
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _check_type(scope: Any, body: bytes) -> None:
    if not body:
        return
    for name, value in scope["headers"]:
        if name == b"content-type" and value.split(b";", 1)[0].strip().lower() == _JSON:
            return
    raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
