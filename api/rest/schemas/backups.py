"""Backups on the wire: keys that wrap them, shares, files, restorations."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field

from api.rest.schemas.common import (
    ABSENT,
    WHOLE,
    Blob,
    Bytes,
    Id,
    Item,
    Moment,
    Page,
    ScopeIn,
    ScopeOut,
    Text,
    Wire,
)
from keyvault.domain.backups import (
    Backup,
    BackupKey,
    BackupKeyState,
    BackupState,
    Restoration,
    RestorationState,
    Share,
    ShareState,
)
from keyvault.domain.canonical import Document
from keyvault.domain.scopes import Scope
from keyvault.operations.backups import Wanted
from keyvault.operations.shares import Said


def _fields(kind: type[Wire], value: object) -> Document:
    found = {name: getattr(value, name) for name in kind.model_fields}
    if isinstance(found.get("scope"), Scope):
        found["scope"] = ScopeOut.of(found["scope"])
    return found


class BackupKeyOut(Wire):
    """A key that wraps backups. `scope` is null where it is for every scope."""

    id: UUID
    scope: ScopeOut | None
    label: str
    threshold: int
    share_set: int
    check_value: str
    state: BackupKeyState
    made_at: Moment
    made_by: str
    supersedes: UUID | None
    destroyed_at: Moment | None

    @classmethod
    def of(cls, key: BackupKey) -> Self:
        return cls(**_fields(cls, key))


class BackupKeysOut(Wire):
    items: list[BackupKeyOut]


class ShareOut(Wire):
    """Who holds a share and where it lies. The words are its holder's alone."""

    backup_key: UUID
    number: int
    holder: str
    share_key: str
    fingerprint: str
    state: ShareState
    place: str
    bag: str
    changed_at: Moment
    confirmed_at: Moment | None

    @classmethod
    def of(cls, share: Share) -> Self:
        return cls(**_fields(cls, share))


class SharesOut(Wire):
    items: list[ShareOut]


class EnvelopeOut(Wire):
    """A share, sealed to its holder's share key (HPKE)."""

    number: int
    fingerprint: str
    envelope: Bytes

    @classmethod
    def of(cls, share: Share) -> Self:
        return cls(**_fields(cls, share))


class ShareMoveIn(Wire):
    """What became of a share."""

    state: ShareState
    place: Text = ABSENT
    bag: Text = ABSENT
    reason: Text = ABSENT

    def read(self) -> Said:
        return Said(**self.model_dump(exclude_unset=True))


class BackupIn(Wire):
    """What is backed up, and where the file will lie. Without a scope: everything."""

    backup_key: Id
    scope: ScopeIn | None = None
    place: Text
    owner: Text

    def read(self) -> Wanted:
        scope = self.scope.read() if self.scope else None
        return Wanted(self.backup_key, scope, self.place, self.owner)


class BackupOut(Wire):
    """A file of wrapped keys, as an asset."""

    id: UUID
    backup_key: UUID
    scope: ScopeOut | None
    state: BackupState
    taken_at: Moment
    taken_by: str
    place: str
    owner: str
    log_size: int
    root: str
    authority: str
    sha256: str
    size: int
    keys: int
    left_out: int
    destroyed_at: Moment | None

    @classmethod
    def of(cls, backup: Backup) -> Self:
        return cls(**_fields(cls, backup))


class BackupsOut(Page[BackupOut]):
    """A part of the register of backups, the newest first."""


class HowIn(Wire):
    """How every copy of the file was destroyed."""

    how: Text


class RestorationOut(Wire):
    """A restoration or a drill. Shares are sealed to `entry` (SPKI).

    `entry_signature` (DER) is that of the second token's gate over its statement of `entry`.
    """

    id: UUID
    backup: UUID
    drill: bool
    state: RestorationState
    entry: Bytes
    entry_signature: Bytes | None
    entered: list[int]
    begun_at: Moment
    begun_by: str
    done_at: Moment | None
    report: Document | None

    @classmethod
    def of(cls, one: Restoration) -> Self:
        return cls(**{**_fields(cls, one), "entered": list(one.entered)})


class SpareKeyOut(Wire):
    """The own key (SPKI) of the second token's gate. `believed`: an authority record names it."""

    spki: Bytes
    fingerprint: str
    believed: bool


class RestorationsOut(Page[RestorationOut]):
    """A part of what was restored and drilled, the newest first."""


class SealedShareIn(Wire):
    """A share, sealed to the entry key of this restoration at its holder's own terminal."""

    sealed: Blob


class LinesIn(Wire):
    """A part of the file, and where in it that part begins."""

    offset: Annotated[int, Field(ge=0, le=2**40), WHOLE]
    lines: Item


class ProgressOut(Wire):
    """What the gate did so far."""

    restored: int
    compared: int
    opened: int
    skipped: int
    failed: int


class EndIn(Wire):
    """Whether the outcome is to be kept; what is given up is undone."""

    keep: bool
