"""Signed files: checked against our authorities, and written down."""

from fastapi import APIRouter, Depends

from api.rest.auth import V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.files import SignedFileIn, SignerOut
from keyvault.operations import files

router = APIRouter(tags=["files"], dependencies=[Depends(known_parameters)])
_CHANGE = documented(403, 408, 409, 413, 415)


@router.post("/v1/files/signed", operation_id="record_signed_file", responses=_CHANGE)
def record_signed_file(body: SignedFileIn, vault: V, who: Who) -> SignerOut:
    """Write down that a file was signed, after checking the signature."""
    return SignerOut.of(files.signed(vault, who, body.read()))


@router.post("/v1/files/verified", operation_id="verify_signed_file", responses=_CHANGE)
def verify_signed_file(body: SignedFileIn, vault: V, who: Who) -> SignerOut:
    """Check a signed file against our authorities and what they revoked."""
    return SignerOut.of(files.verified(vault, who, body.read()))
