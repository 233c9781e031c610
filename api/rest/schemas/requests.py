"""Approval requests on the wire."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from api.rest.schemas.common import (
    HEX_64,
    WHOLE,
    Hex64,
    InstantText,
    Moment,
    Name,
    Page,
    ScopeIn,
    ScopeOut,
    Wire,
    base64_schema,
)
from keyvault.domain.approvals import Approval, ApprovalRequest, RequestState, check_words
from keyvault.domain.canonical import Document
from keyvault.domain.commands import COMMANDS
from keyvault.domain.documents import document_of

OpenDocument = Annotated[
    Document, Field(description="An object of the documented format, exactly as it was hashed")
]


class AskIn(Wire):
    """An act that needs approvals; docs/formats.md lists the commands and their parameters.

    A command that names a key or a system is for its scope; any other is for the `scope` given, or
    for the whole site. `break_glass` asks under the rule that takes more people and waits for
    nobody.
    """

    command: Annotated[str, Field(json_schema_extra={"enum": sorted(COMMANDS)})]
    parameters: OpenDocument
    scope: ScopeIn | None = None
    break_glass: bool = False


class SeenWire(Wire):
    """The log as the approver saw it."""

    size: Annotated[int, Field(ge=0, le=2**53 - 1), WHOLE]
    root: Hex64


class ApprovalWire(Wire):
    """One person's signed decision; docs/formats.md says which bytes are signed."""

    approver: Name
    credential: Annotated[str, Field(pattern=HEX_64, description="SHA-256 of the SPKI")]
    decision: Literal["approve", "refuse"]
    reason: Annotated[str, Field(max_length=200)]
    at: InstantText
    seen: SeenWire
    signature: Annotated[str, base64_schema(1, 78)]

    @classmethod
    def of(cls, approval: Approval) -> "ApprovalWire":
        return cls.model_validate(approval.document())


class RequestOut(Wire):
    """An approval request: what is asked for, by whom, under which rule, and who has signed."""

    id: UUID
    state: RequestState
    command: str
    scope: ScopeOut | None
    requester: str
    requested_at: Moment
    expires_at: Moment
    rule: OpenDocument
    approvals: list[ApprovalWire]
    document: OpenDocument
    digest: Hex64
    check_words: str

    @classmethod
    def of(cls, asked: ApprovalRequest) -> "RequestOut":
        """Translate; the digest and its words are computed, not stored."""
        request = asked.request
        return cls(
            id=request.id,
            state=asked.state,
            command=request.command.name,
            scope=ScopeOut.of(request.scope) if request.scope else None,
            requester=request.requester,
            requested_at=request.requested_at,
            expires_at=request.expires_at,
            rule=document_of(request.rule),
            approvals=[ApprovalWire.of(approval) for approval in asked.approvals],
            document=request.document,
            digest=request.digest.hex(),
            check_words=check_words(request.digest),
        )


class RequestsOut(Page[RequestOut]):
    """Approval requests, oldest first."""


class ExecutionOut(Wire):
    """A request that was carried out. `outcome` depends on the command."""

    request: RequestOut
    outcome: OpenDocument
