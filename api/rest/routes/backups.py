"""Backups: keys that wrap them, shares, files, and bringing them back."""

from collections.abc import Iterator
from os import SEEK_END
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response, StreamingResponse

from api.rest.auth import Repeat, V, Who, known_parameters
from api.rest.problems import documented
from api.rest.schemas.backups import (
    BackupIn,
    BackupKeyOut,
    BackupKeysOut,
    BackupOut,
    BackupsOut,
    EndIn,
    EnvelopeOut,
    HowIn,
    LinesIn,
    ProgressOut,
    RestorationOut,
    RestorationsOut,
    SealedShareIn,
    ShareMoveIn,
    ShareOut,
    SharesOut,
    SpareKeyOut,
)
from api.rest.schemas.common import Cursor, Id, Limit, Name
from keyvault.operations import backups, restoring, shares

router = APIRouter(tags=["backups"], dependencies=[Depends(known_parameters)])
_READ = documented(403, 404)
_CHANGE = documented(403, 404, 408, 409, 413, 415, 502)
_SHARE = "/v1/backup-keys/{key_id:id}/shares/{number}"
Number = Annotated[int, Path(ge=1, le=16)]
IN_MEMORY = 4_194_304  # bytes of a backup; larger ones go to a temporary file
PART = 262_144  # bytes
MEDIA_TYPE = "application/x-ndjson"


@router.get("/v1/backup-keys", operation_id="list_backup_keys", responses=_READ)
def list_backup_keys(vault: V, who: Who) -> BackupKeysOut:
    """List the keys that wrap backups."""
    return BackupKeysOut(items=[BackupKeyOut.of(key) for key in backups.backup_keys(vault, who)])


@router.get("/v1/shares", operation_id="list_shares", responses=_READ)
def list_shares(
    vault: V,
    who: Who,
    backup_key: Annotated[Id | None, Query()] = None,
    holder: Annotated[Name | None, Query()] = None,
) -> SharesOut:
    """List shares: who holds them, where they lie, when somebody last looked."""
    found = shares.page(vault, who, backup_key, holder)
    return SharesOut(items=[ShareOut.of(one) for one in found])


@router.post(f"{_SHARE}/openings", status_code=201, operation_id="open_share", responses=_CHANGE)
def open_share(key_id: Id, number: Number, vault: V, who: Who) -> EnvelopeOut:
    """Hand a share's envelope to its holder, who alone can open it."""
    return EnvelopeOut.of(shares.open_envelope(vault, who, key_id, number))


@router.post(f"{_SHARE}/moves", status_code=201, operation_id="move_share", responses=_CHANGE)
def move_share(
    key_id: Id, number: Number, body: ShareMoveIn, vault: V, who: Who, repeat: Repeat
) -> ShareOut:
    """Record that a share was confirmed, returned, lost or destroyed."""
    return ShareOut.of(shares.move(vault, who, key_id, number, body.read(), repeat))


@router.post(
    "/v1/backups",
    operation_id="make_backup",
    response_class=Response,
    responses={
        **_CHANGE,
        200: {
            "description": "The backup: a line for each key, the last ones signed",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
    },
)
def make_backup(body: BackupIn, vault: V, who: Who) -> StreamingResponse:
    """Back up keys, wrapped under the backup key. What cannot leave its token is named."""
    file = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  (closed when it has been sent)
    try:
        made = backups.make(vault, who, body.read(), file)
    except BaseException:
        file.close()
        raise
    headers = {
        "backup-id": str(made.id),
        "backup-sha256": made.sha256,
        "content-length": str(file.seek(0, SEEK_END)),
        "content-disposition": f'attachment; filename="{made.id}.backup"',
    }
    return StreamingResponse(_parts(file), media_type=MEDIA_TYPE, headers=headers)


def _parts(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while part := file.read(PART):
            yield part


@router.get("/v1/backups", operation_id="list_backups", responses=_READ)
def list_backups(
    vault: V, who: Who, after: Annotated[Cursor | None, Query()] = None, limit: Limit = 50
) -> BackupsOut:
    """List backups, the newest first."""
    items, following = backups.page(vault, who, after, limit)
    return BackupsOut(items=[BackupOut.of(one) for one in items], next=following)


@router.get("/v1/backups/{backup_id:id}", operation_id="show_backup", responses=_READ)
def show_backup(backup_id: Id, vault: V, who: Who) -> BackupOut:
    return BackupOut.of(backups.get(vault, who, backup_id))


@router.post(
    "/v1/backups/{backup_id:id}/destruction",
    status_code=201,
    operation_id="destroy_backup",
    responses=_CHANGE,
)
def destroy_backup(backup_id: Id, body: HowIn, vault: V, who: Who) -> BackupOut:
    """Record that every copy of the file was destroyed, and how."""
    return BackupOut.of(backups.destroy(vault, who, backup_id, body.how))


@router.get("/v1/spare-key", operation_id="show_spare_key", responses=_READ)
def show_spare_key(vault: V, who: Who) -> SpareKeyOut:
    """Show the own key of the second token's gate."""
    return SpareKeyOut(**restoring.own_key(vault, who))


@router.get("/v1/restorations", operation_id="list_restorations", responses=_READ)
def list_restorations(
    vault: V, who: Who, after: Annotated[Cursor | None, Query()] = None, limit: Limit = 50
) -> RestorationsOut:
    """List restorations and drills, the newest first."""
    items, following = restoring.page(vault, who, after, limit)
    return RestorationsOut(items=[RestorationOut.of(one) for one in items], next=following)


_RESTORATION = "/v1/restorations/{restoration_id:id}"


@router.get(_RESTORATION, operation_id="show_restoration", responses=_READ)
def show_restoration(restoration_id: Id, vault: V, who: Who) -> RestorationOut:
    return RestorationOut.of(restoring.get(vault, who, restoration_id))


@router.post(
    f"{_RESTORATION}/shares", status_code=201, operation_id="enter_share", responses=_CHANGE
)
def enter_share(restoration_id: Id, body: SealedShareIn, vault: V, who: Who) -> RestorationOut:
    """Enter the caller's own share, sealed for the gate."""
    return RestorationOut.of(restoring.enter(vault, who, restoration_id, body.sealed))


@router.post(
    f"{_RESTORATION}/lines", status_code=201, operation_id="restore_lines", responses=_CHANGE
)
def restore_lines(restoration_id: Id, body: LinesIn, vault: V, who: Who) -> ProgressOut:
    """Restore the next part of the file. A part that came before is passed over."""
    return ProgressOut(**restoring.take(vault, who, restoration_id, body.offset, body.lines))


@router.post(
    f"{_RESTORATION}/completion",
    status_code=201,
    operation_id="end_restoration",
    responses=_CHANGE,
)
def end_restoration(restoration_id: Id, body: EndIn, vault: V, who: Who) -> RestorationOut:
    """End it. What was a drill, is not whole or is not to be kept is undone."""
    return RestorationOut.of(restoring.end(vault, who, restoration_id, keep=body.keep))
