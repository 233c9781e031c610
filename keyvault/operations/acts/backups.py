"""Backup keys that are made and destroyed, and restorations that are begun."""

from dataclasses import replace

from keyvault import signatures
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.backups import (
    ALIVE,
    BackupKey,
    BackupKeyState,
    BackupState,
    Restoration,
    RestorationState,
    Share,
    ShareState,
)
from keyvault.domain.canonical import Document
from keyvault.domain.commands import (
    DestroyBackupKey,
    MakeBackupKey,
    RecoverLog,
    RestoreBackup,
)
from keyvault.domain.errors import InvalidInputError, KeyStateError, NotReadyError
from keyvault.domain.people import thumbprint
from keyvault.domain.shareholding import check_holder
from keyvault.gate.client import Gate
from keyvault.operations.acts.base import Act, Acting, Asking
from keyvault.operations.vault import Vault, key_stream
from keyvault.store.unit_of_work import Work


def _check_make(asking: Asking, command: MakeBackupKey) -> None:
    for holder in command.holders:
        check_holder(asking.authority, holder, signatures.verify)
    if command.supersedes is not None:
        old = asking.work.backups.key(command.supersedes)
        if old.scope != asking.scope:
            raise InvalidInputError("a backup key follows one for the same scope")


def _made(acting: Acting, work: Work, command: MakeBackupKey, made: Document) -> Document:
    work.backups.add_key(_key(acting, command, made))
    keys = {one.person: thumbprint(one.spki) for one in command.holders}
    now, issued = acting.vault.clock(), ShareState.ISSUED
    for each in made["shares"]:
        told = {name: each[name] for name in ("number", "holder", "envelope", "fingerprint")}
        key = keys[each["holder"]]
        work.backups.add_share(
            Share(acting.id, **told, share_key=key, state=issued, changed_at=now)
        )
        acting.also.append(_share_created(acting, each))
    names = ("number", "holder", "fingerprint")
    return {
        "key": str(acting.id),
        "backup_key": str(acting.id),
        "check_value": made["check_value"],
        "share_set": made["share_set"],
        "threshold": command.threshold,
        "shares": [{name: each[name] for name in names} for each in made["shares"]],
    }


def _key(acting: Acting, command: MakeBackupKey, made: Document) -> BackupKey:
    request = acting.asked.request
    return BackupKey(
        id=acting.id,
        scope=request.scope,
        label=command.label,
        threshold=command.threshold,
        share_set=made["share_set"],
        check_value=made["check_value"],
        state=BackupKeyState.USABLE,
        made_at=acting.vault.clock(),
        made_by=request.requester,
        supersedes=command.supersedes,
    )


def _share_created(acting: Acting, share: Document) -> AuditEvent:
    names = ("number", "holder", "fingerprint")
    payload: Document = {"backup_key": str(acting.id), **{name: share[name] for name in names}}
    return AuditEvent(
        type=EventType.SHARE_CREATED,
        outcome=Outcome.OK,
        operation=acting.id,
        stream=key_stream(acting.id),
        actor=acting.actor,
        role=acting.role,
        scope=acting.asked.request.scope,
        payload=payload,
    )


def _check_destroy(asking: Asking, command: DestroyBackupKey) -> None:
    _usable(asking.work.backups.key(command.backup_key), asking)


def _usable(key: BackupKey, asking: Asking) -> None:
    if key.scope != asking.scope:
        raise InvalidInputError(f"the backup key is for {key.scope or 'every scope'}")
    if key.state is not BackupKeyState.USABLE:
        raise KeyStateError(f"the backup key is {key.state}")


def _destroyed(acting: Acting, work: Work, command: DestroyBackupKey, made: Document) -> Document:
    key = work.backups.key(command.backup_key)
    now, gone = acting.vault.clock(), BackupKeyState.DESTROYED
    work.backups.change_key(replace(key, state=gone, destroyed_at=now))
    alive = [s.number for s in work.backups.shares(key.id) if s.state in ALIVE]
    return {
        "key": str(key.id),
        "objects": made["destroyed"],
        "backups": [str(one.id) for one in work.backups.under(key.id)],
        "shares_left": alive,
    }


def _check_restore(asking: Asking, command: RestoreBackup) -> None:
    backup = asking.work.backups.get(command.backup)
    key = asking.work.backups.key(backup.backup_key)
    if backup.state is not BackupState.KEPT:
        raise KeyStateError(f"the backup is {backup.state}")
    if key.scope != asking.scope:
        raise InvalidInputError(f"the backup key is for {key.scope or 'every scope'}")
    said = (command.backup_key, command.sha256, command.threshold, command.share_set)
    known = (key.id, backup.sha256, key.threshold, key.share_set)
    if said != known or command.check_value != key.check_value:
        raise InvalidInputError(
            "the request does not name this backup and its key as they are on record",
            next_step="ask for it with: keyvault backups restore",
        )
    alive = sum(one.state in ALIVE for one in asking.work.backups.shares(key.id))
    if alive < key.threshold:
        raise KeyStateError(
            f"{key.threshold} shares are needed, and {alive} are left",
            next_step="a lost share that was found is confirmed: keyvault shares confirm",
        )


def _begun(acting: Acting, work: Work, command: RestoreBackup, made: Document) -> Document:
    entry, by = bytes(made["entry"]), acting.asked.request.requester
    state, now = RestorationState.COLLECTING, acting.vault.clock()
    work.backups.add_restoration(
        Restoration(
            acting.id,
            command.backup,
            command.drill,
            state,
            entry,
            now,
            by,
            entry_signature=bytes(made["entry_signature"]),
        )
    )
    told: Document = {"key": str(command.backup_key), "restoration": str(acting.id)}
    return {**told, "entry_sha256": thumbprint(entry)}


def second(vault: Vault) -> Gate:
    """The gate of the second token. Raises `NotReadyError` where there is none."""
    if vault.spare is None:
        raise NotReadyError(
            "there is no second token to restore into",
            next_step="set one up under [spare] in the settings, and start its gate",
        )
    return vault.spare


def _not_here(_: Asking, __: RecoverLog) -> None:
    raise InvalidInputError(
        "a log is recovered on its host, while nothing is served", next_step="keyvault recover"
    )


def _never(_: Acting, __: Work, ___: RecoverLog, ____: Document) -> Document:
    raise InvalidInputError("a log is recovered on its host", next_step="keyvault recover")


ACTS = {
    RecoverLog: Act(EventType.LOG_RECOVERED, _not_here, _never, device=False),
    MakeBackupKey: Act(EventType.BACKUP_KEY_MADE, _check_make, _made),
    DestroyBackupKey: Act(EventType.BACKUP_KEY_DESTROYED, _check_destroy, _destroyed),
    RestoreBackup: Act(EventType.BACKUP_RESTORATION_BEGUN, _check_restore, _begun, gate=second),
}
