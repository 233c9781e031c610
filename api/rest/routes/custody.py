"""Custody: what people did with a key, what holds it back, and what depends on it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.common import EventCursor, Id, Limit
from api.rest.schemas.custody import (
    DependantsOut,
    DestructionOut,
    HoldIn,
    HoldOut,
    StepIn,
    StepOut,
    StepsOut,
)
from keyvault.operations import custody, destruction

router = APIRouter(tags=["custody"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
_CHANGE = documented(403, 404, 408, 409, 413, 415)
_KEY = "/v1/keys/{key_id:id}"


@router.post(f"{_KEY}/steps", status_code=201, operation_id="record_step", responses=_CHANGE)
def record_step(key_id: Id, body: StepIn, vault: V, who: Who, repeat: Repeat) -> StepOut:
    """Record that a key was labelled, distributed, installed or renewed."""
    return StepOut.of(custody.record(vault, who, key_id, body.read(), repeat))


@router.get(f"{_KEY}/steps", operation_id="list_steps", responses=_READ)
def list_steps(
    key_id: Id,
    vault: V,
    who: Who,
    after: Annotated[EventCursor | None, Query()] = None,
    limit: Limit = 50,
) -> StepsOut:
    """List what was recorded of a key, oldest first."""
    items, following = custody.steps(vault, who, key_id, after, limit)
    return StepsOut(items=[StepOut.of(one) for one in items], next=following)


@router.post(f"{_KEY}/holds", status_code=201, operation_id="hold_key", responses=_CHANGE)
def hold_key(key_id: Id, body: HoldIn, vault: V, who: Who, repeat: Repeat) -> HoldOut:
    """Keep a key from being destroyed: one person is enough. Several lift it, by `lift-hold`."""
    return HoldOut.of(custody.hold(vault, who, key_id, body.kind, body.reason, repeat))


@router.get(f"{_KEY}/dependants", operation_id="list_dependants", responses=_READ)
def list_dependants(key_id: Id, vault: V, who: Who) -> DependantsOut:
    """Say what depends on a key, and what forbids to destroy it."""
    return DependantsOut.of(custody.dependants(vault, who, key_id))


@router.get(
    f"{_KEY}/destruction-certificate",
    operation_id="show_destruction_certificate",
    responses=_READ,
)
def show_destruction_certificate(key_id: Id, vault: V, who: Who) -> DestructionOut:
    """Return the signed certificate that nothing is left of a key."""
    return DestructionOut.of(destruction.get(vault, who, key_id))


@router.post(
    f"{_KEY}/destruction-certificate",
    operation_id="certify_destruction",
    responses=documented(403, 404, 408, 409, 415),
)
def certify_destruction(key_id: Id, vault: V, who: Who) -> DestructionOut:
    """Make the certificate where the device could not when the key was destroyed."""
    return DestructionOut.of(destruction.make(vault, who, key_id))
