"""Logging in: the one thing that a connection without a client certificate may do."""

from datetime import UTC

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import APIRouter, Depends, Request, Response

from api.rest.auth import V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.people import ChallengeOut, SessionIn, SessionOut, WhoOut
from keyvault.domain.errors import VaultError
from keyvault.operations import people

router = APIRouter(tags=["login"], dependencies=[Depends(known_parameters)])


@router.post(
    "/v1/login/challenges",
    status_code=201,
    operation_id="create_challenge",
    responses=documented(409, 413),
    openapi_extra={"security": []},
)
def create_challenge(vault: V) -> ChallengeOut:
    """Get what a delegation has to name."""
    return ChallengeOut.model_validate(people.challenge(vault))


@router.post(
    "/v1/login/sessions",
    status_code=201,
    operation_id="log_in",
    responses=documented(403, 408, 409, 413, 415, 502),
    openapi_extra={"security": []},
)
def log_in(body: SessionIn, request: Request, vault: V) -> SessionOut:
    """Exchange a signed delegation for a client certificate of some hours."""
    throttle, source = request.app.state.throttle, request.client.host if request.client else ""
    throttle.check(source)
    delegation = body.delegation.model_dump(mode="json")
    try:
        issued = x509.load_der_x509_certificate(people.login(vault, delegation, body.signature))
    except VaultError:
        throttle.failed(source)
        raise
    return SessionOut(
        certificate=issued.public_bytes(Encoding.PEM).decode(),
        not_after=issued.not_valid_after_utc.astimezone(UTC),
    )


@router.delete(
    "/v1/login/session", status_code=204, operation_id="log_out", responses=documented(403)
)
def log_out(request: Request, vault: V, who: Who) -> Response:
    """End the session that calls; its certificate is of no use from now on."""
    people.logout(vault, who)
    request.app.state.callers.forget()
    return Response(status_code=204)


@router.get("/v1/whoami", operation_id="who_am_i", responses=documented())
def who_am_i(vault: V, who: Who) -> WhoOut:
    """Say who calls."""
    return WhoOut.of(who, vault.clock())
