"""Requests as an approver needs them: built anew from their fields, and compared."""

import json
from pathlib import Path

from keyvault.domain.approvals import (
    Approval,
    ApprovalRequest,
    Request,
    RequestState,
    check_words,
)
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.chain import rule_of
from keyvault.domain.errors import AuthorityError, InvalidInputError, QuorumError


def rebuilt(item: Document) -> ApprovalRequest:
    """Read a request as the API shows it; what gets signed is written from typed fields alone.

    Whatever the server adds, hides or writes in another way is refused with `InvalidInputError`:
    nobody signs bytes that somebody else put together.
    """
    try:
        request = Request.read(dict(item["document"]))
        approvals = tuple(Approval.read(dict(given)) for given in item["approvals"])
        state = RequestState(item["state"])
    except (KeyError, TypeError, ValueError, QuorumError) as error:
        raise InvalidInputError("this is no approval request that can be read") from error
    told = (str(request.id), request.digest.hex(), check_words(request.digest))
    if told != (item.get("id"), item.get("digest"), item.get("check_words")):
        raise InvalidInputError(
            "the server describes another request than the one to be signed",
            next_step="sign nothing; call the requester and compare check words",
        )
    return ApprovalRequest(request, state, 1, approvals)


def check_rule(request: Request, authority: Authority, key_class: str) -> None:
    """Raise `AuthorityError` unless log and rule are those of the signed authority."""
    if request.origin != authority.origin:
        raise AuthorityError("the request belongs to another log")
    if request.rule != rule_of(authority, request, key_class):
        raise AuthorityError(
            "the request quotes another rule than the one in force",
            next_step="ask for it again under the rule in force",
        )


def read_file(path: Path) -> Document:
    """Read a JSON object from a file. Raises `InvalidInputError`."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot read {path} as JSON") from error
    if not isinstance(value, dict):
        raise InvalidInputError(f"{path} does not hold a JSON object")
    return value
