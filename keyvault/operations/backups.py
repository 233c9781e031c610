"""Backups: made as a file whose last line is signed, kept in a register, and destroyed."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import IO
from uuid import UUID, uuid4

from hsm.types import WrappedKey
from keyvault import VERSION
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.backups import Backup, BackupKey, BackupKeyState, BackupState, why_left_out
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.errors import InvalidInputError, KeyStateError
from keyvault.domain.keys import Key, KeyState, Residence, kek_name, service_key_id
from keyvault.domain.scopes import Scope
from keyvault.domain.standing import Reach
from keyvault.domain.times import text_of
from keyvault.operations.vault import Vault, key_stream, permit

PAGE = 100  # keys in one turn: as many as a gate wraps without keeping others waiting
_WRAPS, _SIGNS = ("AES-256", "wrap"), ("EC-P256", "sign")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be backed up, and where the file will lie. Without a scope, everything."""

    backup_key: UUID
    scope: Scope | None
    place: str
    owner: str


def backup_keys(vault: Vault, who: Principal) -> list[BackupKey]:
    permit(vault, who, Action.KEY_READ)
    with vault.database.reading() as work:
        return work.backups.all_keys()


def page(
    vault: Vault, who: Principal, after: str | None = None, limit: int = 50
) -> tuple[list[Backup], str | None]:
    """List backups, the newest first, and the cursor of the next page."""
    permit(vault, who, Action.KEY_READ)
    with vault.database.reading() as work:
        return work.backups.page(after, limit)


def get(vault: Vault, who: Principal, backup_id: UUID) -> Backup:
    permit(vault, who, Action.KEY_READ)
    with vault.database.reading() as work:
        return work.backups.get(backup_id)


def make(vault: Vault, who: Principal, wanted: Wanted, out: IO[bytes]) -> Backup:
    """Write a backup to `out`, a line for each key; memory stays the same however many there are.

    It is on record as unfinished before the device is asked, and as kept before its bytes leave.
    """
    permitted = permit(vault, who, Action.KEY_CHANGE, where=wanted.scope or Reach.ALL)
    begun, key = _begin(vault, who, permitted.role, wanted)
    file = _File(out)
    file.write(_head(begun, key))
    for line in _lines(vault, begun):
        file.write(line)
    done = _signed(vault, file, begun)
    with vault.database.work() as work:
        work.backups.change(done)
        work.commit(_event(EventType.KEY_BACKED_UP, who.actor, permitted.role, done))
    return done


class _File:
    """A file that is written once, hashed and counted on the way."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._hash = sha256()
        self.size = 0
        self.kinds: dict[str, int] = {}

    def write(self, document: Document) -> None:
        line = canonical(document) + b"\n"
        self._out.write(line)
        self._hash.update(line)
        self.size += len(line)
        kind = str(document["kind"])
        self.kinds[kind] = self.kinds.get(kind, 0) + 1

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def _begin(vault: Vault, who: Principal, role: str, wanted: Wanted) -> tuple[Backup, BackupKey]:
    with vault.database.work() as work:
        key = work.backups.key(wanted.backup_key)
        if key.state is not BackupKeyState.USABLE:
            raise KeyStateError(f"the backup key is {key.state}")
        if not key.covers(wanted.scope):
            raise InvalidInputError(f"the backup key is for {key.scope} alone")
        head = work.audit.head()
        begun = Backup(
            id=uuid4(),
            backup_key=key.id,
            scope=wanted.scope,
            state=BackupState.UNFINISHED,
            taken_at=vault.clock(),
            taken_by=who.actor,
            place=wanted.place,
            owner=wanted.owner,
            log_size=head.size,
            root=head.root.hex(),
            authority=vault.authority(work).head,
        )
        work.backups.add(begun)
        kind, intent = EventType.KEY_BACKED_UP, Outcome.INTENT
        work.commit(_event(kind, who.actor, role, begun, intent))
        return begun, key


def _head(backup: Backup, key: BackupKey) -> Document:
    return {
        "kind": "backup",
        "v": 1,
        "backup": str(backup.id),
        "scope": backup.scope.document() if backup.scope else None,
        "taken_at": text_of(backup.taken_at),
        "taken_by": backup.taken_by,
        "log": {"size": backup.log_size, "root": backup.root},
        "authority": backup.authority,
        "backup_key": str(key.id),
        "check_value": key.check_value,
        "threshold": key.threshold,
        "share_set": key.share_set,
        "software": f"keyvault {VERSION}",
    }


def _lines(vault: Vault, backup: Backup) -> Iterator[Document]:
    if backup.scope is None:
        yield from _service_keys(vault, backup)
    scopes = None if backup.scope is None else frozenset({backup.scope})
    after: str | None = None
    while True:
        with vault.database.reading() as work:  # no transaction spans a device call
            keys, after = work.keys.page(scopes=scopes, after=after, limit=PAGE)
            held = [key for key in keys if _lived(key, backup)]
            wrapped = {key.id: work.keys.wrapped(key.id) for key in held if _rests_wrapped(key)}
        yield from _of_page(vault, backup, held, wrapped)
        if after is None:
            return


def _lived(key: Key, backup: Backup) -> bool:
    return key.created_at <= backup.taken_at and key.state is not KeyState.DESTROYED


def _rests_wrapped(key: Key) -> bool:
    return key.residence is Residence.WRAPPED


def _service_keys(vault: Vault, backup: Backup) -> Iterator[Document]:
    """The service's own, first of all: records that rest outside are opened by them."""
    kinds = dict.fromkeys(map(kek_name, vault.gate.keks()), _WRAPS)
    kinds |= {"mac": ("HMAC-SHA-256", "mac"), "session-ca": _SIGNS, "evidence": _SIGNS}
    ids = [service_key_id(name) for name in kinds]
    answers = vault.gate.back_up(backup.backup_key.bytes, ids)
    for name, key_id, answer in zip(kinds, ids, answers, strict=True):
        key, label = str(UUID(bytes=key_id)), f"keyvault {name}"
        if "blob" not in answer:
            yield _left_out(key, label, answer["message"])
            continue
        algorithm, usage = kinds[name]
        spec = {"label": label, "algorithm": algorithm, "usage": usage, "extractable": True}
        yield {
            "kind": "key",
            "key": key,
            "spec": {**spec, "trusted": usage == "wrap"},
            "public_key": b64encode(answer["public_key"]).decode(),
            "check_value": answer["check_value"],
            "blob": b64encode(answer["blob"]).decode(),
        }


def _of_page(
    vault: Vault, backup: Backup, keys: Sequence[Key], wrapped: dict[UUID, WrappedKey | None]
) -> Iterator[Document]:
    whole = backup.scope is None
    reasons = {key.id: why_left_out(key, whole=whole) for key in keys}
    leaving = [key for key in keys if not reasons[key.id] and not _rests_wrapped(key)]
    answers: Iterable[Document] = []
    if leaving:
        answers = vault.gate.back_up(backup.backup_key.bytes, [key.id.bytes for key in leaving])
    blobs = dict(zip((key.id for key in leaving), answers, strict=True))
    for key in keys:
        record = wrapped.get(key.id)
        if reasons[key.id]:
            yield _left_out(str(key.id), key.label, reasons[key.id])
        elif record is not None:
            yield {"kind": "wrapped", **_about(key), **_record(record)}
        else:
            yield _resident(key, blobs[key.id])


def _resident(key: Key, answer: Document) -> Document:
    if "blob" not in answer:
        return _left_out(str(key.id), key.label, answer["message"])
    return {"kind": "key", **_about(key), "blob": b64encode(answer["blob"]).decode()}


def _left_out(key: str, label: str, reason: str) -> Document:
    return {"kind": "left-out", "key": key, "label": label, "reason": reason}


def _about(key: Key) -> Document:
    return {
        "key": str(key.id),
        "spec": {
            "label": key.label,
            "algorithm": str(key.algorithm),
            "usage": str(key.usage),
            "extractable": key.extractable,
            "trusted": False,
        },
        "public_key": b64encode(key.public_key).decode(),
        "check_value": key.check_value,
        "scope": key.scope.document(),
        "class": key.key_class,
        "state": str(key.state),
        "protect_until": text_of(key.protect_until),
        "process_until": text_of(key.process_until),
    }


def _record(wrapped: WrappedKey) -> Document:
    told = {"spec": {k: v for k, v in asdict(wrapped.spec).items() if k != "key_id"}}
    told["spec"] |= {"algorithm": str(wrapped.spec.algorithm), "usage": str(wrapped.spec.usage)}
    names = ("blob", "kek_id", "mac_key_id", "mac", "public_key")
    return told | {name: b64encode(getattr(wrapped, name)).decode() for name in names}


def _signed(vault: Vault, file: _File, backup: Backup) -> Backup:
    keys = file.kinds.get("key", 0) + file.kinds.get("wrapped", 0)
    left_out = file.kinds.get("left-out", 0)
    end: Document = {
        "kind": "end",
        "v": 1,
        "backup": str(backup.id),
        "backup_key": str(backup.backup_key),
        "keys": keys,
        "left_out": left_out,
        "lines_sha256": file.sha256,
    }
    signature = vault.gate.sign_backup(canonical(end))
    file.write(end)
    file.write({"kind": "signature", "signature": b64encode(signature).decode()})
    return replace(
        backup,
        state=BackupState.KEPT,
        sha256=file.sha256,
        size=file.size,
        keys=keys,
        left_out=left_out,
    )


def destroy(vault: Vault, who: Principal, backup_id: UUID, how: str) -> Backup:
    """Record that every copy of a backup's file was destroyed. Raises `KeyStateError`."""
    with vault.database.reading() as work:
        where = work.backups.get(backup_id).scope or Reach.ALL
    permitted = permit(vault, who, Action.KEY_CHANGE, where=where)
    with vault.database.work() as work:
        backup = work.backups.get(backup_id)
        if backup.state is BackupState.DESTROYED:
            raise KeyStateError("the backup is destroyed already")
        gone = replace(backup, state=BackupState.DESTROYED, destroyed_at=vault.clock())
        work.backups.change(gone)
        event = _event(EventType.BACKUP_DESTROYED, who.actor, permitted.role, gone)
        work.commit(replace(event, payload={**event.payload, "how": how}))
        return gone


def _event(
    kind: EventType, actor: str, role: str, backup: Backup, outcome: Outcome = Outcome.OK
) -> AuditEvent:
    names = ("sha256", "size", "keys", "left_out", "place", "owner", "log_size", "root")
    payload: Document = {name: getattr(backup, name) for name in names}
    return AuditEvent(
        type=kind,
        outcome=outcome,
        operation=backup.id,
        stream=key_stream(backup.backup_key),
        actor=actor,
        role=role,
        scope=backup.scope,
        payload={"backup": str(backup.id), "backup_key": str(backup.backup_key), **payload},
    )
