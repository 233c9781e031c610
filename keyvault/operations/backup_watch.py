"""What holders of shares and keepers of backups owe: a look at each share, and a drill."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from keyvault.domain.backups import ALIVE, CONFIRM_WITHIN, DRILL_WITHIN, BackupKey, Share
from keyvault.domain.notices import Notice
from keyvault.operations.vault import Vault
from keyvault.store.unit_of_work import Reading


@dataclass(frozen=True, slots=True)
class Watch:
    """`shares` that nobody confirmed for long, keys that are `short` of one to lose, and a drill.

    A drill is overdue once there is a backup and nobody tried one for `DRILL_WITHIN`.
    """

    shares: tuple[Share, ...]
    short: tuple[BackupKey, ...]
    drill_overdue: bool

    @property
    def text(self) -> str:
        told = []
        if self.shares:
            told.append(f"{len(self.shares)} shares that nobody confirmed for long")
        told += [f"too few shares of backup key {key.label} are left" for key in self.short]
        if self.drill_overdue:
            told.append("no backup was restored in a drill for long: keyvault backups drill")
        return "; ".join(told)


def watch(vault: Vault, work: Reading) -> Watch:
    now = vault.clock()
    usable = [key for key in work.backups.all_keys() if key.destroyed_at is None]
    shares = {key.id: work.backups.shares(key.id) for key in usable}
    late = tuple(one for each in shares.values() for one in each if one.overdue(now))
    short = tuple(key for key in usable if _alive(shares[key.id]) <= key.threshold)
    return Watch(late, short, _drill_overdue(vault, work))


def remark(vault: Vault) -> str:
    """What health says. Keys go on signing, so this never makes the service unready."""
    with vault.database.reading() as work:
        return watch(vault, work).text


def notices(vault: Vault, work: Reading) -> Iterator[Notice]:
    """Tell each holder of their share, once a quarter, and everybody of a drill."""
    seen, now = watch(vault, work), vault.clock()
    for one in seen.shares:
        due = (one.confirmed_at or one.changed_at) + CONFIRM_WITHIN
        command = f"keyvault shares confirm {one.backup_key}"
        yield Notice(
            key=f"share:{one.backup_key}:{one.number}:{due:%Y-%m-%d}",
            people=(one.holder,),
            subject="look at your share of a backup key",
            text=f"Nobody confirmed share {one.number} when it was due. Look at its bag: {command}",
            due=due,
        )
    if seen.drill_overdue:
        holders = {one.holder for key in work.backups.all_keys() for one in _held(work, key)}
        yield Notice(
            key=f"drill:{now.year}-{now.month}",
            people=tuple(sorted(holders)),
            subject="a restore drill is overdue",
            text="No backup was restored in a drill for a quarter: keyvault backups drill BACKUP",
            due=now - timedelta(seconds=1),
        )


def _drill_overdue(vault: Vault, work: Reading) -> bool:
    backups, _ = work.backups.page(limit=1)
    if not backups:
        return False
    last = work.backups.last_drill()
    return last is None or last.done_at is None or vault.clock() >= last.done_at + DRILL_WITHIN


def _held(work: Reading, key: BackupKey) -> list[Share]:
    return [] if key.destroyed_at else work.backups.shares(key.id)


def _alive(shares: list[Share]) -> int:
    return sum(one.state in ALIVE for one in shares)
