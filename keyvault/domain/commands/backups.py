"""Acts on backups that need approvals: the key that wraps them, and bringing them back."""

import re
from dataclasses import dataclass
from uuid import UUID

from keyvault.domain.backups import check_sharing
from keyvault.domain.commands.base import Command
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import check_id

MAX_SET = (1 << 15) - 1


@dataclass(frozen=True, slots=True)
class Holder:
    """Who gets a share, and the key it is sealed to.

    `signature` is theirs, by the enrolled `credential`, over `share_key_statement`.
    """

    person: str
    spki: bytes
    credential: str
    signature: bytes

    def __post_init__(self) -> None:
        check_id(self.person)


@dataclass(frozen=True, slots=True)
class MakeBackupKey(Command):
    """Make a key in the HSM that wraps backups, and share it: any `threshold` holders rebuild it.

    Without a scope it is for the keys of every scope and for the service's own.
    """

    name = "make-backup-key"
    label: str
    threshold: int
    holders: tuple[Holder, ...]
    supersedes: UUID | None
    reason: str

    def __post_init__(self) -> None:
        check_sharing(self.threshold, tuple(one.person for one in self.holders))


@dataclass(frozen=True, slots=True)
class DestroyBackupKey(Command):
    """Destroy a backup key: every backup under it is dead once its shares are destroyed, too."""

    name = "destroy-backup-key"
    backup_key: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class RestoreBackup(Command):
    """Rebuild a backup key in the second token, and unwrap a backup there.

    `sha256` is that of the file. `share_set` and `check_value` are those of the key, so that a
    share of another set is refused. A `drill` leaves nothing on the token.
    """

    name = "restore-backup"
    backup: UUID
    backup_key: UUID
    sha256: str
    threshold: int
    share_set: int
    check_value: str
    drill: bool
    reason: str

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.sha256) or self.share_set > MAX_SET:
            raise InvalidInputError("a backup is named by the SHA-256 of its file, and its set")
