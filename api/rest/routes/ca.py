"""Our own certification authority: who it is, what it issued, and what it says of that.

Certificates of authorities, lists and answers are for everybody: who checks one of our
certificates has none of ours to show.
"""

import asyncio
from base64 import b64decode
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.rest.auth import V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.ca import (
    CaOut,
    CasOut,
    CertifiedOut,
    CertifyIn,
    ExportOut,
    IssuedOut,
    IssuedPageOut,
    RevocationIn,
)
from api.rest.schemas.common import Id, Limit
from keyvault.operations import ca, revocation

router = APIRouter(tags=["ca"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
_CHANGE = documented(403, 404, 408, 409, 413, 415)
_PUBLIC = documented(404)
_PATH = "/v1/ca"
_ONE = _PATH + "/{issuer:id}"
_OPEN: dict[str, Any] = {"security": []}
Base64 = Annotated[str, Path(max_length=2_048, pattern="^[A-Za-z0-9+/=]+$")]


def _binary(kind: str) -> dict[int | str, dict[str, Any]]:
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": {kind: schema}, "description": "In DER"}, **_PUBLIC}


_CERTIFICATE, _CRL = "application/pkix-cert", "application/pkix-crl"
_ASKED, _ANSWERED = "application/ocsp-request", "application/ocsp-response"


@router.get(_PATH, operation_id="list_authorities", responses=_READ)
def list_authorities(vault: V, who: Who) -> CasOut:
    """List our own authorities, the oldest first."""
    return CasOut(items=[CaOut.of(one) for one in ca.authorities(vault, who)])


@router.post(
    f"{_PATH}/certificates", status_code=201, operation_id="certify_key", responses=_CHANGE
)
def certify_key(body: CertifyIn, vault: V, who: Who) -> CertifiedOut:
    """Certify a key on no token, by its request, as a registrar signed."""
    made = ca.certify_key(vault, who, body.read(), body.request)
    return CertifiedOut(certificate=made)


@router.post(
    _PATH + "/certificates/{serial}/revocations", operation_id="revoke_issued", responses=_CHANGE
)
def revoke_issued(
    serial: Annotated[str, Path(pattern="^[0-9a-f]{2,40}$")],
    body: RevocationIn,
    vault: V,
    who: Who,
) -> IssuedOut:
    """Revoke one certificate of ours. It bites at once."""
    return IssuedOut.of(ca.revoke(vault, who, serial, body.reason))


@router.get(f"{_ONE}/issued", operation_id="list_issued", responses=_READ)
def list_issued(
    issuer: Id,
    vault: V,
    who: Who,
    after: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}\.[0-9a-f]{2,40}$")] = None,
    limit: Limit = 50,
) -> IssuedPageOut:
    """List what an authority issued, newest first."""
    items, following = ca.page(vault, who, issuer, after, limit)
    return IssuedPageOut(items=[IssuedOut.of(one) for one in items], next=following)


@router.post(f"{_ONE}/exports", operation_id="export_issued", responses=documented(403, 404, 415))
def export_issued(issuer: Id, vault: V, who: Who) -> ExportOut:
    """Everything that an authority issued, as CSV with a signed manifest."""
    return ExportOut.of(ca.export(vault, who, issuer))


@router.get(
    f"{_ONE}/certificate",
    operation_id="get_authority_certificate",
    responses=_binary(_CERTIFICATE),
    openapi_extra=_OPEN,
    response_class=Response,
)
def get_authority_certificate(issuer: Id, vault: V) -> Response:
    """The certificate of an authority, in DER."""
    return Response(ca.certificate_of(vault, issuer), media_type=_CERTIFICATE)


@router.get(
    f"{_ONE}/crl",
    operation_id="get_revocation_list",
    responses=_binary(_CRL),
    openapi_extra=_OPEN,
    response_class=Response,
)
def get_revocation_list(issuer: Id, vault: V) -> Response:
    """What an authority revoked, as of now: a CRL in DER (RFC 5280)."""
    return Response(revocation.newest_list(vault, issuer), media_type=_CRL)


_BODY = {"content": {_ASKED: {"schema": {"type": "string", "format": "binary"}}}, "required": True}


@router.post(
    f"{_PATH}/ocsp",
    operation_id="ask_status",
    responses=_binary(_ANSWERED),
    openapi_extra={**_OPEN, "requestBody": _BODY},
    response_class=Response,
)
async def ask_status(request: Request, vault: V) -> Response:
    """Answer an OCSP request in DER (RFC 6960), of any authority of ours."""
    body = await request.body()
    made = await asyncio.to_thread(revocation.answer, vault, body)
    return Response(made, media_type=_ANSWERED)


@router.get(
    _PATH + "/ocsp/{question:path}",
    operation_id="get_status",
    responses=_binary(_ANSWERED),
    openapi_extra=_OPEN,
    response_class=Response,
)
def get_status(question: Base64, vault: V) -> Response:
    """The same by GET: the request in base64 (RFC 6960, A.1)."""
    try:
        asked = b64decode(question, validate=True)
    except ValueError:
        asked = b""
    return Response(revocation.answer(vault, asked), media_type=_ANSWERED)
