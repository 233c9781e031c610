"""One table from error to answer (RFC 9457). What does not stand in it is a 500 that says nothing.

A problem goes to its caller alone: logs hold its code, never its detail, a body or a digest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from hsm import errors as hsm
from keyvault.domain import errors as vault
from keyvault.wire.errors import RemoteError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:keyvault:problem:"
INTERNAL = "internal"
RETRY_AFTER = {HTTPStatus.TOO_MANY_REQUESTS: 1, HTTPStatus.SERVICE_UNAVAILABLE: 2}  # seconds

_S = HTTPStatus
STATUS: dict[type[Exception], HTTPStatus] = {
    vault.InvalidInputError: _S.UNPROCESSABLE_ENTITY,
    vault.NotAuthenticatedError: _S.UNAUTHORIZED,
    vault.NotPermittedError: _S.FORBIDDEN,
    vault.NotFoundError: _S.NOT_FOUND,
    vault.KeyStateError: _S.CONFLICT,
    vault.KeyNeededError: _S.CONFLICT,
    vault.RetainedError: _S.CONFLICT,
    vault.UseNotAllowedError: _S.FORBIDDEN,
    vault.ModuleLevelError: _S.CONFLICT,
    vault.ModuleLocationError: _S.CONFLICT,
    vault.RequestStateError: _S.CONFLICT,
    vault.QuorumError: _S.CONFLICT,
    vault.RequestAlteredError: _S.CONFLICT,
    vault.ApprovalInvalidError: _S.UNPROCESSABLE_ENTITY,
    vault.AuthorityError: _S.CONFLICT,
    vault.AuthorityChangedError: _S.CONFLICT,
    vault.RuleError: _S.CONFLICT,
    vault.ConflictError: _S.CONFLICT,
    vault.ReplayedError: _S.CONFLICT,
    vault.AuthorityMissingError: _S.SERVICE_UNAVAILABLE,
    vault.OutcomeUnknownError: _S.CONFLICT,
    vault.LogUnavailableError: _S.SERVICE_UNAVAILABLE,
    vault.EventMisfitError: _S.INTERNAL_SERVER_ERROR,
    vault.NotReadyError: _S.SERVICE_UNAVAILABLE,
    vault.ShareStateError: _S.CONFLICT,
    vault.ShareInvalidError: _S.UNPROCESSABLE_ENTITY,
    vault.BackupInvalidError: _S.UNPROCESSABLE_ENTITY,
    vault.CeremonyError: _S.UNPROCESSABLE_ENTITY,
    vault.NotWitnessedError: _S.SERVICE_UNAVAILABLE,
    vault.RolledBackError: _S.SERVICE_UNAVAILABLE,
    vault.BusyError: _S.TOO_MANY_REQUESTS,
    vault.OverloadedError: _S.SERVICE_UNAVAILABLE,
    vault.RateLimitedError: _S.TOO_MANY_REQUESTS,
    vault.LockedOutError: _S.TOO_MANY_REQUESTS,
    vault.CsrRefusedError: _S.UNPROCESSABLE_ENTITY,
    vault.CertificateUnreadableError: _S.UNPROCESSABLE_ENTITY,
    vault.CertificateDiffersError: _S.UNPROCESSABLE_ENTITY,
    vault.CertificateStateError: _S.CONFLICT,
    vault.CertificatePendingError: _S.CONFLICT,
    vault.TokenStateError: _S.CONFLICT,
    vault.IssueStateError: _S.CONFLICT,
    vault.TokenDuplicateError: _S.CONFLICT,
    vault.StatementInvalidError: _S.UNPROCESSABLE_ENTITY,
    vault.FileSignatureError: _S.UNPROCESSABLE_ENTITY,
    vault.CardChangedError: _S.UNPROCESSABLE_ENTITY,
    vault.InterfaceTakenError: _S.CONFLICT,
    vault.SubmissionLimitError: _S.CONFLICT,
    vault.CounterRegressionError: _S.CONFLICT,
    vault.CounterNotIssuedError: _S.CONFLICT,
    vault.CounterUsedError: _S.CONFLICT,
    vault.CellUsageError: _S.CONFLICT,
    vault.HandoverEndedError: _S.CONFLICT,
    vault.ComponentRefusedError: _S.CONFLICT,
    vault.ComponentInvalidError: _S.UNPROCESSABLE_ENTITY,
    vault.CheckValueError: _S.CONFLICT,
    vault.BagMismatchError: _S.CONFLICT,
    vault.PublishedKeyError: _S.UNPROCESSABLE_ENTITY,
    hsm.DeviceUnavailableError: _S.SERVICE_UNAVAILABLE,
    hsm.DeviceTimeoutError: _S.SERVICE_UNAVAILABLE,
    hsm.DeviceFullError: _S.SERVICE_UNAVAILABLE,
    hsm.TokenNotFoundError: _S.SERVICE_UNAVAILABLE,
    hsm.PinIncorrectError: _S.SERVICE_UNAVAILABLE,
    hsm.PinLockedError: _S.SERVICE_UNAVAILABLE,
    hsm.MechanismUnsupportedError: _S.UNPROCESSABLE_ENTITY,
    hsm.KeyNotFoundError: _S.BAD_GATEWAY,
    hsm.KeyUnusableError: _S.CONFLICT,
    hsm.KeyExistsError: _S.CONFLICT,
    hsm.DataInvalidError: _S.UNPROCESSABLE_ENTITY,
    hsm.IntegrityError: _S.BAD_GATEWAY,
    hsm.UriError: _S.BAD_GATEWAY,
}
# Never answered as themselves: the bases, and what another process could not name.
UNLISTED = frozenset({vault.VaultError, hsm.HsmError, RemoteError})
AT_THE_DESK = hsm.CardError  # cards are read where people sit, never behind this API

_COMPARE = "compare the call with /openapi.json"
_FRAMEWORK = {
    _S.BAD_REQUEST: ("bad-request", "the request is not well-formed HTTP"),
    _S.NOT_FOUND: ("not-found", "there is nothing at this path"),
    _S.METHOD_NOT_ALLOWED: ("method-not-allowed", "this path does not take this method"),
    _S.REQUEST_TIMEOUT: ("too-slow", "the request did not arrive in time"),
    _S.REQUEST_ENTITY_TOO_LARGE: ("too-large", "the body is larger than this service takes"),
    _S.UNSUPPORTED_MEDIA_TYPE: ("media-type", "send the body as application/json"),
    _S.REQUEST_HEADER_FIELDS_TOO_LARGE: ("headers-too-large", "too many or too long headers"),
}


class Fault(BaseModel):
    """One field that is not what it should be."""

    model_config = ConfigDict(extra="forbid")
    pointer: str = Field(description="Where: body, query, path or header, then the field")
    detail: str


class ProblemOut(BaseModel):
    """What went wrong, by a code that is stable, and what to do next (RFC 9457)."""

    model_config = ConfigDict(extra="forbid", title="Problem")
    type: str = Field(description="URN that ends in the code", examples=["urn:keyvault:problem:x"])
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable: programs branch on this")
    next_step: str = Field(description="A sentence for people; may be empty")
    instance: str = Field(description="URN of this very answer, to be quoted to an operator")
    errors: list[Fault] = Field(default_factory=list, description="Only with code invalid-input")


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer that is not what the caller hoped for."""

    status: HTTPStatus
    code: str
    detail: str
    next_step: str = ""
    retry_after: int = 0  # seconds
    faults: tuple[dict[str, str], ...] = ()
    headers: dict[str, str] = field(default_factory=dict)

    def document(self, request_id: str) -> dict[str, Any]:
        """The body, with the id of the request that it answers."""
        document: dict[str, Any] = {
            "type": TYPE_PREFIX + self.code,
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
            "code": self.code,
            "next_step": self.next_step,
            "instance": f"urn:uuid:{request_id}",
        }
        if self.faults:
            document["errors"] = list(self.faults)
        return document

    def response(self, request_id: str) -> Response:
        """The whole answer, with Retry-After where trying again may help."""
        headers = dict(self.headers)
        if self.retry_after:
            headers["retry-after"] = str(self.retry_after)
        if self.status is _S.UNAUTHORIZED:
            headers["www-authenticate"] = 'TLS-Client-Certificate realm="keyvault"'
        body = orjson.dumps(self.document(request_id))
        return Response(body, int(self.status), headers, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """Translate any error. The table decides; everything else is an internal error."""
    if isinstance(error, HTTPException):
        return _of_framework(error)
    if isinstance(error, ValidationError | RequestValidationError):
        return _of_validation(error)
    status = STATUS.get(type(error))
    if status is None:
        return Problem(
            _S.INTERNAL_SERVER_ERROR,
            INTERNAL,
            "the service failed; the operator finds this answer's instance in the log",
        )
    retry = getattr(error, "retry_after", None) or RETRY_AFTER.get(status, 0)
    return Problem(
        status,
        getattr(error, "code", INTERNAL),
        str(error),
        getattr(error, "next_step", ""),
        retry_after=max(1, round(retry)) if retry else 0,
    )


def framework_problem(status: HTTPStatus, **headers: str) -> Problem:
    """One of the problems that HTTP itself knows."""
    code, detail = _FRAMEWORK[status]
    unknown = status in {_S.NOT_FOUND, _S.METHOD_NOT_ALLOWED}
    return Problem(status, code, detail, _COMPARE if unknown else "", headers=headers)


def _of_framework(error: HTTPException) -> Problem:
    status = HTTPStatus(error.status_code)
    if status not in _FRAMEWORK:
        return Problem(_S.INTERNAL_SERVER_ERROR, INTERNAL, "the service failed")
    return framework_problem(status, **(error.headers or {}))


def _of_validation(error: ValidationError | RequestValidationError) -> Problem:
    prefix = ("body",) if isinstance(error, ValidationError) else ()
    faults = tuple(
        {
            "pointer": "/".join(str(part) for part in (*prefix, *fault["loc"]))[:200],
            "detail": str(fault["msg"])[:200],
        }
        for fault in list(error.errors())[:20]
    )
    return Problem(
        _S.UNPROCESSABLE_ENTITY,
        vault.InvalidInputError.code,
        f"values that cannot be taken as they were sent: {len(faults)}",
        _COMPARE,
        faults=faults,
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Say in the OpenAPI document that a route may answer with these problems."""
    return {status: _response(status) for status in sorted({*_ALWAYS, *statuses})}


_ALWAYS = (400, 401, 422, 429, 431, 500, 503)  # any route may answer so


def _response(status: int) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in RETRY_AFTER:
        response["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait"}
        }
    return response


def all_codes() -> Iterable[str]:
    """Every stable code, for the documentation."""
    listed = (getattr(kind, "code", INTERNAL) for kind in STATUS)
    return sorted({*listed, INTERNAL, *(code for code, _ in _FRAMEWORK.values())})
