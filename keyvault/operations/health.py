"""Alive is one thing; ready to sign, and why not, is another."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from hsm.errors import DeviceUnavailableError, HsmError
from keyvault.domain.errors import NotReadyError, VaultError
from keyvault.gate.client import silence_of
from keyvault.operations import (
    backup_watch,
    expiry,
    fsck,
    notices,
    quorums,
    reconciliation,
    stations,
    streams,
    timing,
    witnesses,
)
from keyvault.operations.vault import Vault

DISK_FLOOR = 256 * 1024 * 1024  # bytes: below it the log may soon be unwritable
STATUS_TIMEOUT = 2.5  # seconds
SEAL_LIMIT = timedelta(seconds=30)  # how old the first unsealed event may be


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    ok: bool
    reason: str = ""
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    ready: bool
    checks: tuple[Check, ...]


def ready(vault: Vault) -> Readiness:
    """Ask every part that a signature needs. Never raises: a failure is a reason."""
    checks = tuple(
        _checked(name, check, vault)
        for name, check in (
            ("database", _database),
            ("authority", _authority),
            ("hsm", _hsm),
            ("recorder", _recorder),
            ("sealer", _sealer),
            ("witnesses", witnesses.check),
            ("certificates", expiry.remark),
            ("quorums", quorums.remark),
            ("register", reconciliation.remark),
            ("backups", backup_watch.remark),
            ("time", timing.remark),
            ("streams", streams.remark),
            ("log", fsck.remark),
            ("notices", notices.remark),
            ("stations", stations.remark),
            ("disk", _disk),
        )
    )
    return Readiness(all(check.ok for check in checks), checks)


def _checked(name: str, check: Callable[[Vault], str | None], vault: Vault) -> Check:
    try:
        remark = check(vault)
    except (VaultError, HsmError) as error:
        return Check(name, ok=False, reason=str(error), next_step=error.next_step)
    except OSError as error:
        return Check(name, ok=False, reason=type(error).__name__, next_step=f"see runbook {name}")
    return Check(name, ok=True, reason=remark or "")


def _database(vault: Vault) -> None:
    if not vault.database.is_current():
        raise NotReadyError(
            f"the database is at migration {vault.database.version()}, not the newest",
            next_step="run: keyvault migrate",
        )


def _authority(vault: Vault) -> None:
    vault.check_authority()


def silences(vault: Vault) -> list[str]:
    """Why each gate of the keys does not answer, the first one's first; nothing if it does."""
    sockets = vault.settings.keys.sockets
    with ThreadPoolExecutor(len(sockets)) as asking:
        return list(asking.map(silence_of, sockets))


def _hsm(vault: Vault) -> str | None:
    """One gate that answers is enough to sign; the others are named."""
    if vault.settings.keys.workers == 1:
        vault.gate.status()
        return None
    silent = [f"gate {n}: {why}" for n, why in enumerate(silences(vault), 1) if why]
    if len(silent) == vault.settings.keys.workers:
        raise DeviceUnavailableError("; ".join(silent), next_step="see runbook hsm-down")
    return "; ".join(silent)


def _recorder(vault: Vault) -> None:
    try:
        vault.recorder_status.call("status", timeout=STATUS_TIMEOUT)
    except OSError as error:
        raise NotReadyError(
            "the recorder does not answer", next_step="see that the recorder runs"
        ) from error


def _sealer(vault: Vault) -> None:
    with vault.database.reading() as work:
        sealed, size = work.audit.latest_checkpoint_size(), work.audit.head().size
        first = work.audit.event(sealed).time if sealed < size else vault.clock()
    waiting = vault.clock() - first
    if waiting > SEAL_LIMIT:
        raise NotReadyError(
            f"{size - sealed} events have waited {waiting.seconds} s for a checkpoint",
            next_step="see whether the sealer and the log gate run",
        )


def _disk(vault: Vault) -> None:
    free = shutil.disk_usage(vault.settings.state).free
    if free < DISK_FLOOR:
        raise NotReadyError(
            f"{free // 2**20} MiB are free where the log is kept", next_step="make room"
        )
