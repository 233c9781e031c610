"""Backups: the key that wraps them, its shares, the file, and what came of a restoration."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from keyvault.domain.canonical import Document, canonical
from keyvault.domain.errors import BagMismatchError, InvalidInputError, ShareStateError
from keyvault.domain.keys import Key, Residence
from keyvault.domain.scopes import Scope

BACKUP_CONTEXT = b"keyvault-backup-v1\n"
SHARE_CONTEXT = b"keyvault-share-v1\n"
SHARE_KEY_CONTEXT = "keyvault-share-key-v1"
ENTRY_CONTEXT = b"keyvault-share-entry-v1\n"
STATEMENT_CONTEXT = b"keyvault-restoration-v1\n"
CONFIRM_WITHIN = timedelta(days=92)  # each holder looks at their share every quarter
DRILL_WITHIN = timedelta(days=92)


class BackupKeyState(StrEnum):
    USABLE = "usable"
    DESTROYED = "destroyed"


class ShareState(StrEnum):
    ISSUED = "issued"  # sealed to its holder, who has not said yet where it lies
    CONFIRMED = "confirmed"
    RETURNED = "returned"
    LOST = "lost"
    DESTROYED = "destroyed"


# Every arrow, and no other. Confirming again is how a share is inspected.
SHARE_MOVES: dict[ShareState, frozenset[ShareState]] = {
    ShareState.ISSUED: frozenset({ShareState.CONFIRMED, ShareState.LOST, ShareState.DESTROYED}),
    ShareState.CONFIRMED: frozenset(
        {ShareState.CONFIRMED, ShareState.RETURNED, ShareState.LOST, ShareState.DESTROYED}
    ),
    ShareState.RETURNED: frozenset({ShareState.CONFIRMED, ShareState.LOST, ShareState.DESTROYED}),
    ShareState.LOST: frozenset({ShareState.CONFIRMED, ShareState.DESTROYED}),
    ShareState.DESTROYED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class BackupKey:
    """A key in the HSM that wraps backups, and how it is shared.

    `scope` is None where it is for keys of every scope and for the service's own. `share_set` is
    the identifier that all shares of one set have in common (SLIP-39, 15 bits).
    """

    id: UUID
    scope: Scope | None
    label: str
    threshold: int
    share_set: int
    check_value: str
    state: BackupKeyState
    made_at: datetime
    made_by: str
    supersedes: UUID | None = None
    destroyed_at: datetime | None = None

    def covers(self, scope: Scope | None) -> bool:
        return self.scope is None or self.scope == scope


@dataclass(frozen=True, slots=True)
class Share:
    """One share: whose it is, where it lies, and the envelope that only its holder opens.

    `fingerprint` tells shares apart and gives nothing away. `bag` is the number of the tamper
    bag, empty while there is none.
    """

    backup_key: UUID
    number: int
    holder: str
    share_key: str  # thumbprint of the key that opens the envelope
    envelope: bytes
    fingerprint: str
    state: ShareState
    changed_at: datetime
    place: str = ""
    bag: str = ""
    confirmed_at: datetime | None = None

    def to(self, state: ShareState, now: datetime, place: str = "", bag: str = "") -> "Share":
        """Take one arrow of `SHARE_MOVES`. Raises `ShareStateError`, `BagMismatchError`."""
        if state not in SHARE_MOVES[self.state]:
            raise ShareStateError(f"a share that is {self.state} cannot become {state}")
        if state is ShareState.CONFIRMED and self.bag and bag and bag != self.bag:
            raise BagMismatchError(
                f"share {self.number} was put into bag {self.bag}, and this is bag {bag}",
                next_step="find out who exchanged it; if it was opened, mark the share as lost",
            )
        return replace(
            self,
            state=state,
            changed_at=now,
            place=place or self.place,
            bag=bag or self.bag,
            confirmed_at=now if state is ShareState.CONFIRMED else self.confirmed_at,
        )

    def overdue(self, now: datetime) -> bool:
        """Whether its holder owes a word on it."""
        if self.state not in (ShareState.ISSUED, ShareState.CONFIRMED):
            return False
        return now >= (self.confirmed_at or self.changed_at) + CONFIRM_WITHIN


ALIVE = frozenset({ShareState.ISSUED, ShareState.CONFIRMED, ShareState.RETURNED})


class BackupState(StrEnum):
    UNFINISHED = "unfinished"  # it was begun, and its last line was never signed
    KEPT = "kept"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Backup:
    """A file of wrapped keys, as an asset: where it lies and who answers for it."""

    id: UUID
    backup_key: UUID
    scope: Scope | None
    state: BackupState
    taken_at: datetime
    taken_by: str
    place: str
    owner: str
    log_size: int
    root: str
    authority: str
    sha256: str = ""
    size: int = 0
    keys: int = 0
    left_out: int = 0
    destroyed_at: datetime | None = None

    def holds(self, key: Key) -> bool:
        """Whether the key is in it: it was there when the backup was taken, and can be in one."""
        lived = key.created_at <= self.taken_at and (
            key.destroyed_at is None or key.destroyed_at > self.taken_at
        )
        covered = self.scope is None or self.scope == key.scope
        return lived and covered and not why_left_out(key, whole=self.scope is None)


class RestorationState(StrEnum):
    COLLECTING = "collecting"  # the gate waits for shares
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Restoration:
    """A restoration or a drill. `entry` is the key (SPKI) that shares are sealed to.

    `entry_signature` is over `entry_statement`, by the own key of the second token's gate.
    """

    id: UUID
    backup: UUID
    drill: bool
    state: RestorationState
    entry: bytes
    begun_at: datetime
    begun_by: str
    entered: tuple[int, ...] = ()
    done_at: datetime | None = None
    report: Document | None = None
    entry_signature: bytes | None = None  # None: begun by a version that signed nothing


def entry_statement(origin: str, restoration: UUID, entry: bytes) -> bytes:
    """What the second token's gate signs: for which restoration it takes shares under which key."""
    told: Document = {"origin": origin, "restoration": str(restoration), "entry": entry.hex()}
    return STATEMENT_CONTEXT + canonical(told)


def why_left_out(key: Key, *, whole: bool) -> str:
    """Say why a key cannot be in a backup; empty if it can. `whole` is one of every scope."""
    if key.residence is Residence.WRAPPED:
        return "" if whole else "it rests under the service's own key: back up every scope"
    return "" if key.extractable else f"keys of class {key.key_class} never leave the device"


def check_sharing(threshold: int, holders: tuple[str, ...]) -> None:
    """Raise `InvalidInputError` unless no one person, and no one loss, decides.

    With two shares who deals knows both; with n = m a lost one loses the key.
    """
    if not 2 <= threshold < len(holders) <= 16:  # noqa: PLR2004  (SLIP-39's limit)
        raise InvalidInputError(
            "a key is shared among 3 to 16 people, of whom at least 2 and not all are needed",
            next_step="name more holders, or a smaller threshold",
        )
    if len(set(holders)) != len(holders):
        raise InvalidInputError("nobody holds two shares of one key")
