"""Logging in: the one thing that a connection without a client certificate may do."""

import asyncio
from datetime import UTC
from http import HTTPStatus

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import APIRouter, Depends, Request, Response

from api.refusals import Refusals
from api.rest.auth import V, Who, known_parameters
from api.rest.problems import STATUS, documented
from api.rest.schemas.people import (
    ChallengeOut,
    DelegationIn,
    SessionIn,
    SessionOut,
    WhoOut,
)
from hsm.errors import HsmError
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
async def log_in(body: SessionIn, request: Request, vault: V) -> SessionOut:
    """Exchange a signed delegation for a client certificate of some hours."""
    lockout, claimed = request.app.state.lockout, f"person:{body.delegation.person}"
    lockout.check(claimed)
    delegation = body.delegation.model_dump(mode="json")
    try:
        der = await asyncio.to_thread(people.login, vault, delegation, body.signature)
    except (VaultError, HsmError) as error:
        if STATUS[type(error)] < HTTPStatus.INTERNAL_SERVER_ERROR:  # no outage of ours
            lockout.failed(claimed)
        await _noted(request.app.state.failures, body.delegation, str(error))
        raise
    lockout.succeeded(claimed)
    issued = x509.load_der_x509_certificate(der)
    return SessionOut(
        certificate=issued.public_bytes(Encoding.PEM).decode(),
        not_after=issued.not_valid_after_utc.astimezone(UTC),
    )


async def _noted(failures: Refusals, claim: DelegationIn, reason: str) -> None:
    """Write the failure down before it is answered, or count it among those of that name."""
    writing = failures.note(claim.person, claim.credential, reason)
    if writing is not None:
        await asyncio.wait([writing])


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
