"""The outermost layer: who calls, how much they may send, how long they may take, what is noted.

Nothing is parsed before it is measured, and nothing but the open paths is reached without an
identity. Plain uses of keys come in by `use`, past the layers that rare calls are glad of.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from os import urandom
from random import random
from typing import Any, NamedTuple
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.callers import Callers, address_of, certificate_of
from api.limits import check_shape
from api.names import BODY, PRINCIPAL, REQUEST_ID, WHOLE
from api.rates import Rates
from api.refusals import Refusals
from api.rest import hot
from api.rest.auth import is_open
from api.rest.problems import problem_of
from api.shedding import Caller, Shedding
from api.telemetry import Telemetry
from keyvault.domain.access import Principal
from keyvault.domain.errors import (
    BusyError,
    LockedOutError,
    NotAuthenticatedError,
    OverloadedError,
    RateLimitedError,
)
from keyvault.operations.vault import Vault

BODY_TIME = 10.0  # seconds until the whole body has to be there
SEND_TIME = 30.0  # seconds a reader may keep us waiting for a part of an answer
HELD = 2.0  # seconds, about, that the answer to a caller's own call too many is held back
HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"strict-transport-security", b"max-age=31536000"),
)
Handle = Callable[..., Awaitable[Any]]
_HELD_BACK = (BusyError, RateLimitedError)  # the caller's own doing; not who was locked out


class Reply(NamedTuple):
    """A whole answer. `headers` are its own; those of every answer are not among them."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Front:
    """ASGI in, ASGI out; and plain uses of keys below ASGI."""

    def __init__(
        self,
        app: Any,
        callers: Callers,
        vault: Vault,
        telemetry: Telemetry,
        refusals: Refusals,
        rates: Rates,
        body_limit: int,
    ) -> None:
        self._app = app
        self._callers = callers
        self._vault = vault
        self._telemetry = telemetry
        self._refusals = refusals
        self._rates = rates
        self._body_limit = body_limit
        self._shedding = Shedding()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        try:
            await self._admitted(scope, self._handle, receive, answer)
        except Exception as error:  # noqa: BLE001  (the last catch: it becomes a problem)
            await self._fail(scope, receive, answer, error)
        finally:
            self._telemetry.served(scope, answer.status, time.perf_counter() - answer.started)

    async def use(self, scope: Any, plain: hot.HotUse, key_id: UUID, body: bytes) -> Reply:
        """Answer a plain use of a key, whose body is here. Every error becomes a problem."""
        started = time.perf_counter()
        scope[REQUEST_ID] = _fresh_id()
        try:
            answer = await self._admitted(scope, self._use, plain, key_id, body)
            reply = Reply(
                plain.status, [_JSON_TYPE, (b"content-length", b"%d" % len(answer))], answer
            )
        except Exception as error:  # noqa: BLE001  (the last catch: it becomes a problem)
            response = self._problem(scope, error)
            reply = Reply(response.status_code, response.raw_headers, bytes(response.body))
        self._telemetry.served(scope, reply.status, time.perf_counter() - started)
        return reply

    async def _admitted(self, scope: Any, handle: Handle, *args: Any) -> Any:
        """Have a call handled, once it is known whose it is and that it is not one too many."""
        try:
            who = await self._identify(scope)
            name = address_of(scope) if who is None else who.actor
            caller = self._shedding.enter(name, time.monotonic())
        except BusyError as error:
            if type(error) in _HELD_BACK:
                # At once, it would cost the others the most; spread, so as not to come in step.
                await asyncio.sleep(HELD * (0.5 + random()))  # noqa: S311  (no secret)
            raise
        try:
            return await handle(scope, caller, *args)
        finally:
            self._shedding.leave(caller)

    async def _use(
        self, scope: Any, caller: Caller, plain: hot.HotUse, key_id: UUID, body: bytes
    ) -> bytes:
        if len(body) > self._body_limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, headers=_CLOSE)
        _check_type(scope, body)
        check_shape(body)
        scope[BODY] = body
        served: bytes = await self._in_turn(
            caller, body, hot.serve, self._vault, scope, plain, key_id, body
        )
        return served

    async def _handle(self, scope: Any, caller: Caller, receive: Any, answer: "_Answer") -> None:
        body = await self._body(scope, receive)
        _check_type(scope, body)
        if scope["path"] != OCSP_PATH:  # no JSON, and read under a limit of its own
            check_shape(body)
        scope[BODY] = body
        given = scope, _replay(body, receive), answer.send
        if scope["method"] == "POST" and hot.find(scope["raw_path"]) is not None:
            await self._in_turn(caller, body, self._app, *given)
        else:
            await self._app(*given)

    async def _in_turn(self, caller: Caller, body: bytes, handle: Handle, *args: Any) -> Any:
        """Have a use of a key handled, once it is its caller's turn."""
        use = self._shedding.ask(caller, len(body), time.monotonic())
        try:
            if use.turn is not None:
                await use.turn
            return await handle(*args)
        finally:
            self._shedding.done(use, time.monotonic())

    async def _identify(self, scope: Any) -> Principal | None:
        now, address = time.monotonic(), address_of(scope)
        try:
            certificate = certificate_of(scope)
            self._rates.call(certificate, address, now)
            who = await self._who(scope, certificate)
        except (NotAuthenticatedError, LockedOutError) as error:
            self._refusals.note(address, str(error))
            raise
        if who is not None:
            self._rates.scope(who, now)
            scope[PRINCIPAL] = who
        return who

    async def _who(self, scope: Any, certificate: str | None) -> Principal | None:
        if not is_open(scope["method"], scope["path"]):
            return await self._callers.of(certificate)
        try:
            return None if certificate is None else await self._callers.of(certificate)
        except (NotAuthenticatedError, LockedOutError):
            return None  # an ended session is no reason not to log in

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
        await self._problem(scope, error)(scope, receive, answer.send)

    def _problem(self, scope: Any, error: Exception) -> Response:
        problem = problem_of(error)
        if isinstance(error, OverloadedError):
            self._telemetry.overloaded.inc()
        elif problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._telemetry.failed(scope, error)
        return problem.response(scope[REQUEST_ID])


_JSON = b"application/json"
_OCSP, OCSP_PATH = b"application/ocsp-request", "/v1/ca/ocsp"
_JSON_TYPE = (b"content-type", _JSON)
_CLOSE = {"connection": "close"}


class _Answer:
    """What goes out: its status is remembered, its headers completed, its reader hurried."""

    __slots__ = ("_headers", "_send", "complete", "started", "status")

    def __init__(self, scope: Any, send: Any) -> None:
        self.started = time.perf_counter()
        self.status = 0
        self.complete = False
        self._send = send
        scope[REQUEST_ID] = request_id = _fresh_id()
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


def _fresh_id() -> str:
    """Make a UUIDv4 as text: uuid4 takes thrice as long."""
    digits = urandom(16).hex()
    parts = digits[:8], digits[8:12], f"4{digits[13:16]}", f"a{digits[17:20]}", digits[20:]
    return "-".join(parts)


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
    wanted = _OCSP if scope["path"] == OCSP_PATH else _JSON
    for name, value in scope["headers"]:
        if name == b"content-type" and value.split(b";", 1)[0].strip().lower() == wanted:
            return
    raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
