"""The service's wrapping keys. Rotating and retiring are asked for with `POST /v1/requests`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from api.rest.auth import V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.common import Id, Wire
from keyvault.operations import keks

router = APIRouter(tags=["custody"], dependencies=[Depends(known_parameters)])


class KekOut(Wire):
    """A wrapping key on the token, how many keys rest under it, and the first of them."""

    number: int
    newest: bool
    keys: int
    first: list[UUID]


class KeksOut(Wire):
    """The newest stands last."""

    items: list[KekOut]


class FailedOut(Wire):
    """A key that stays where it was, and why."""

    key: str
    reason: str


class RunOut(Wire):
    """What one batch did. Call again with `after` until it is null; then `left` keys failed."""

    done: int
    failed: list[FailedOut]
    left: int
    after: UUID | None


@router.get("/v1/keks", operation_id="list_keks", responses=documented(403, 502))
def list_keks(vault: V, who: Who) -> KeksOut:
    """List the service's wrapping keys with what depends on each."""
    found = keks.listed(vault, who)
    names = ("number", "newest", "keys")
    items = [
        KekOut(**{name: getattr(one, name) for name in names}, first=list(one.first))
        for one in found
    ]
    return KeksOut(items=items)


@router.post(
    "/v1/keks/batches",
    status_code=201,
    operation_id="rewrap_batch",
    responses=documented(403, 408, 409, 415, 502),
)
def rewrap_batch(vault: V, who: Who, after: Annotated[Id | None, Query()] = None) -> RunOut:
    """Bring the next batch of keys, by their ids behind `after`, under the newest wrapping key."""
    run = keks.rewrap(vault, who, after)
    failed = [FailedOut(key=key, reason=reason) for key, reason in run.failed]
    return RunOut(done=run.done, failed=failed, left=run.left, after=run.last)
