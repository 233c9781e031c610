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
        named = re.fullmatch("[0-9a-f]{64}", self.sha256) and self.share_set <= MAX_SET
        if not named or self.threshold < 2:  # noqa: PLR2004  (as it was made)
            raise InvalidInputError("a backup is named by the SHA-256 of its file, and its set")


@dataclass(frozen=True, slots=True)
class RecoverLog(Command):
    """Go on from an older copy of the log, in a new epoch: what came after it is lost.

    `kept_size` and `kept_root` (hex) are the log as it is; `lost_size` and `lost_root` the largest
    that the log's own gate has sealed.
    """

    name = "recover-log"
    kept_size: int
    kept_root: str
    lost_size: int
    lost_root: str
    epoch: int
    reason: str

    def __post_init__(self) -> None:
        roots = self.kept_root, self.lost_root
        whole = all(re.fullmatch("[0-9a-f]{64}", root) for root in roots)
        if self.epoch < 2 or not whole or 0 in (self.kept_size, self.lost_size):  # noqa: PLR2004  (the first follows genesis)
            raise InvalidInputError("a recovery begins the second epoch or a later one")
