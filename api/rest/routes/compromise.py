"""Compromise: declaring it, its case, and the notices to those who have to know."""

from typing import Literal

from fastapi import APIRouter, Depends, Response

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.common import Id
from api.rest.schemas.compromise import CaseOut, CompromiseIn, NoticeIn, NoticeOut
from api.rest.schemas.keys import KeyOut
from keyvault.domain.compromise import Body, as_html, as_text
from keyvault.operations import compromise

router = APIRouter(tags=["custody"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
_CHANGE = documented(403, 404, 408, 409, 413, 415)
_KEY = "/v1/keys/{key_id:id}"
_FORMS = {"text": ("text/plain", as_text), "html": ("text/html", as_html)}


@router.post(f"{_KEY}/compromises", operation_id="declare_compromise", responses=_CHANGE)
def declare_compromise(
    key_id: Id, body: CompromiseIn, vault: V, who: Who, repeat: Repeat
) -> KeyOut:
    """Declare a key compromised, or suspected to be: one custodian is enough, and no way back."""
    known_at = body.known_at
    return KeyOut.of(compromise.declare(vault, who, key_id, body.reason, known_at, repeat))


@router.get(f"{_KEY}/compromise", operation_id="show_compromise", responses=_READ)
def show_compromise(key_id: Id, vault: V, who: Who) -> CaseOut:
    """Show a key's case: since when, what it reaches, what replaces it, who is not told yet."""
    return CaseOut.of(compromise.get(vault, who, key_id), vault.clock())


@router.get(
    f"{_KEY}/compromise/notices/{{body}}",
    operation_id="draft_notice",
    response_class=Response,
    responses={
        **_READ,
        200: {
            "description": "The draft of a notice, ready to be copied",
            "content": {media: {"schema": {"type": "string"}} for media, _ in _FORMS.values()},
        },
    },
)
def draft_notice(
    key_id: Id,
    body: Body,
    vault: V,
    who: Who,
    format: Literal["text", "html"] = "text",  # noqa: A002  (its name in the URL)
) -> Response:
    """Draft the notice to one body, from what is on record now."""
    media, write = _FORMS[format]
    written = write(compromise.notice(vault, who, key_id, body))
    return Response(written.encode(), media_type=f"{media}; charset=utf-8")


@router.post(
    f"{_KEY}/compromise/notices",
    status_code=201,
    operation_id="record_notice",
    responses=_CHANGE,
)
def record_notice(key_id: Id, body: NoticeIn, vault: V, who: Who, repeat: Repeat) -> NoticeOut:
    """Record that a body was told."""
    told = body.body, body.sent_at, body.reference
    return NoticeOut.of(compromise.notice_sent(vault, who, key_id, *told, repeat))
