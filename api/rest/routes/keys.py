"""Keys: ordering, reading, changing."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.public_keys import MEDIA_TYPES, encoded
from api.rest.schemas.audit import EventsOut
from api.rest.schemas.common import Cursor, EventCursor, Id, Limit, ReasonIn, ScopeText, Text, Wire
from api.rest.schemas.keys import ImportIn, KeyExportIn, KeyOut, KeysOut, OrderIn
from api.rest.schemas.requests import RequestOut
from hsm.types import Algorithm
from keyvault.domain.access import Principal
from keyvault.domain.commands import command_of
from keyvault.domain.keys import KeyState
from keyvault.domain.scopes import Scope
from keyvault.operations import approvals, keys
from keyvault.operations.keys import KeyQuery
from keyvault.operations.vault import Once, Vault

router = APIRouter(tags=["keys"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
_ASK = documented(403, 404, 408, 409, 413, 415)


@router.post("/v1/keys", status_code=202, operation_id="order_key", responses=_ASK)
def order_key(body: OrderIn, vault: V, who: Who, repeat: Repeat) -> RequestOut:
    """Ask for a new key. Its id will be the id of the request."""
    return _ask(vault, who, "generate-key", body, repeat)


@router.post("/v1/keys/imports", status_code=202, operation_id="import_key", responses=_ASK)
def import_key(body: ImportIn, vault: V, who: Who, repeat: Repeat) -> RequestOut:
    """Ask for a key to be taken in that another party wrapped for us."""
    return _ask(vault, who, "import-key", body, repeat)


def _ask(
    vault: Vault, who: Principal, name: str, body: OrderIn | ImportIn, repeat: Once | None
) -> RequestOut:
    command = command_of(name, body.model_dump(mode="json", exclude={"scope"}))
    return RequestOut.of(approvals.ask(vault, who, command, body.scope.read(), repeat))


@router.get("/v1/keys", operation_id="list_keys", responses=_READ)
def list_keys(  # noqa: PLR0913  (each filter has its name)
    *,
    vault: V,
    who: Who,
    scope: Annotated[ScopeText | None, Query()] = None,
    state: KeyState | None = None,
    algorithm: Algorithm | None = None,
    label: Annotated[Text | None, Query()] = None,
    after: Annotated[Cursor | None, Query()] = None,
    limit: Limit = 50,
) -> KeysOut:
    """List keys, oldest first. A system sees those of its own scope."""
    query = KeyQuery(Scope.parse(scope) if scope else None, state, algorithm, label)
    items, following = keys.page(vault, who, query, after, limit)
    return KeysOut(items=[KeyOut.of(key) for key in items], next=following)


@router.get("/v1/keys/{key_id:id}", operation_id="show_key", responses=_READ)
def show_key(key_id: Id, vault: V, who: Who) -> KeyOut:
    return KeyOut.of(keys.get(vault, who, key_id))


@router.get("/v1/keys/{key_id:id}/history", operation_id="show_key_history", responses=_READ)
def show_key_history(
    key_id: Id,
    vault: V,
    who: Who,
    after: Annotated[EventCursor | None, Query()] = None,
    limit: Limit = 50,
) -> EventsOut:
    """List what the log holds of a key, oldest first."""
    return EventsOut.of(*keys.history(vault, who, key_id, after, limit))


@router.get(
    "/v1/keys/{key_id:id}/public-key",
    operation_id="show_public_key",
    response_class=Response,
    responses={
        **_READ,
        200: {
            "description": "The public key in the form asked for",
            "content": {
                MEDIA_TYPES["pem"]: {"schema": {"type": "string"}},
                MEDIA_TYPES["der"]: {"schema": {"type": "string", "format": "binary"}},
                MEDIA_TYPES["jwk"]: {"schema": {"$ref": "#/components/schemas/JwkOut"}},
            },
        },
    },
)
def show_public_key(
    key_id: Id,
    vault: V,
    who: Who,
    format: Literal["pem", "der", "jwk"] = "pem",  # noqa: A002  (its name in the URL)
) -> Response:
    """Return the public half as PEM, DER (SubjectPublicKeyInfo) or JWK (RFC 7517)."""
    body = encoded(keys.get(vault, who, key_id), format)
    return Response(body, media_type=MEDIA_TYPES[format])


def _change(
    vault: Vault, who: Principal, name: str, key_id: UUID, body: Wire, repeat: Once | None
) -> RequestOut:
    parameters = {"key": str(key_id), **body.model_dump(mode="json")}
    scope = keys.get(vault, who, key_id).scope
    asked = approvals.ask(vault, who, command_of(name, parameters), scope, repeat)
    return RequestOut.of(asked)


@router.post(
    "/v1/keys/{key_id:id}/activations",
    status_code=202,
    operation_id="activate_key",
    responses=_ASK,
)
def activate_key(key_id: Id, body: ReasonIn, vault: V, who: Who, repeat: Repeat) -> RequestOut:
    """Ask for a key to be put into use."""
    return _change(vault, who, "activate-key", key_id, body, repeat)


@router.post(
    "/v1/keys/{key_id:id}/resumptions", status_code=202, operation_id="resume_key", responses=_ASK
)
def resume_key(key_id: Id, body: ReasonIn, vault: V, who: Who, repeat: Repeat) -> RequestOut:
    """Ask for a suspended key to be used again."""
    return _change(vault, who, "resume-key", key_id, body, repeat)


@router.post(
    "/v1/keys/{key_id:id}/deactivations",
    status_code=202,
    operation_id="deactivate_key",
    responses=_ASK,
)
def deactivate_key(key_id: Id, body: ReasonIn, vault: V, who: Who, repeat: Repeat) -> RequestOut:
    """Ask for a key to protect nothing more; it still processes what it protected."""
    return _change(vault, who, "deactivate-key", key_id, body, repeat)


@router.post(
    "/v1/keys/{key_id:id}/destructions", status_code=202, operation_id="destroy_key", responses=_ASK
)
def destroy_key(key_id: Id, body: ReasonIn, vault: V, who: Who, repeat: Repeat) -> RequestOut:
    """Ask for a key to be destroyed for ever."""
    return _change(vault, who, "destroy-key", key_id, body, repeat)


@router.post(
    "/v1/keys/{key_id:id}/exports", status_code=202, operation_id="export_key", responses=_ASK
)
def export_key(key_id: Id, body: KeyExportIn, vault: V, who: Who, repeat: Repeat) -> RequestOut:
    """Ask for a key to be wrapped for another party, where its class allows it."""
    return _change(vault, who, "export-key", key_id, body, repeat)


@router.post("/v1/keys/{key_id:id}/suspensions", operation_id="suspend_key", responses=_ASK)
def suspend_key(key_id: Id, body: ReasonIn, vault: V, who: Who, repeat: Repeat) -> KeyOut:
    """Stop a key at once: one custodian is enough."""
    return KeyOut.of(keys.suspend(vault, who, key_id, body.reason, repeat))
