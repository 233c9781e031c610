"""The end of a key, certified: every copy that was destroyed, how, when, and who allowed it."""

import json
import logging
from base64 import b64encode
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from hsm.errors import HsmError
from keyvault.domain.access import Action, Principal
from keyvault.domain.approvals import Approval, Request
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.backups import ALIVE, Backup
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.custody import DESTRUCTION_CONTEXT, DestructionCertificate
from keyvault.domain.errors import KeyStateError, NotFoundError, VaultError
from keyvault.domain.keys import Key, KeyState, Residence
from keyvault.domain.times import text_of
from keyvault.operations import keys
from keyvault.operations.vault import Vault, key_event, key_stream, permit
from keyvault.store.audit import LoggedEvent
from keyvault.store.unit_of_work import Reading

log = logging.getLogger("keyvault.destruction")


def copies_of(
    vault: Vault, work: Reading, key: Key, destroyed: int, second: int | None = None
) -> list[Document]:
    """Name the copies that go with a key: objects on the tokens, or its wrapped record.

    `destroyed` objects were removed, and `second` from the second token if there is one; none
    where an earlier attempt that was cut off had done it.
    """
    token = vault.settings.keys.uri
    copies: list[Document] = []
    if key.residence is Residence.RESIDENT:
        how = "C_DestroyObject"
        copies.append({"what": "objects", "where": token, "how": how, "count": destroyed})
    if second and vault.settings.spare is not None:
        where, how = vault.settings.spare.uri, "C_DestroyObject"
        copies.append({"what": "objects", "where": where, "how": how, "count": second})
    if wrapped := work.keys.wrapped(key.id):
        digest = sha256(wrapped.blob).hexdigest()
        how = "row deleted; the gate refuses its blob for ever"
        copies.append({"what": "wrapped record", "where": "database", "how": how, "sha256": digest})
    return copies


def certify(vault: Vault, actor: str, role: str, key_id: UUID) -> DestructionCertificate:
    """Have the evidence key sign that a key is gone, once. Raises `KeyStateError` while it is not.

    The gate looks for itself that nothing is left before it signs.
    """
    with vault.database.reading() as work:
        key = work.keys.get(key_id)
        if found := work.custody.certificate(key_id):
            return found
        now = vault.clock()
        body = canonical(_statement(vault, work, key, now))
    signature = vault.gate.sign_destruction(body)
    made = DestructionCertificate(key_id, now, DESTRUCTION_CONTEXT + body, signature)
    with vault.database.work() as work:
        if work.custody.add_certificate(made):
            work.commit(_certified(actor, role, key, made))
    with vault.database.reading() as work:  # as stored: another process may have been first
        return work.custody.certificate(key_id) or made


def _statement(vault: Vault, work: Reading, key: Key, now: datetime) -> Document:
    if key.state is not KeyState.DESTROYED or key.destroyed_at is None:
        raise KeyStateError(f"the key is {key.state}", next_step="keyvault keys destroy")
    event = _last(work, key.id)
    payload = json.loads(event.payload or b"{}")
    request = Request.read(payload["request"])
    signed = [Approval.read(each) for each in payload["approvals"]]
    return {
        "v": 1,
        "origin": vault.settings.origin,
        **_described(key),
        "destroyed_at": text_of(key.destroyed_at),
        "copies": payload.get("copies", []),
        "exported": _exports(work, key.id),
        "backups": _backups(work, key),
        "request": str(request.id),
        "request_sha256": request.digest.hex(),
        "requester": request.requester,
        "reason": getattr(request.command, "reason", ""),
        "approvals": [_signer(one) for one in signed],
        "event": event.index,
        "issued_at": text_of(now),
        "checked": "no object with the key's CKA_ID was on the token when this was signed",
    }


def _signer(one: Approval) -> Document:
    return {"approver": one.approver, "at": one.at, "credential": one.credential}


def _described(key: Key) -> Document:
    return {
        "key": str(key.id),
        "label": key.label,
        "scope": key.scope.document(),
        "algorithm": str(key.algorithm),
        "usage": str(key.usage),
        "class": key.key_class,
        "owner": key.owner,
        "public_key_sha256": sha256(key.public_key).hexdigest() if key.public_key else None,
        "check_value": key.check_value,
        "created_at": text_of(key.created_at),
        "compromised_at": text_of(key.compromised_at) if key.compromised_at else None,
    }


def _last(work: Reading, key_id: UUID) -> LoggedEvent:
    kind = EventType.KEY_DESTROYED
    found, _ = work.audit.page(type=kind, outcome=Outcome.OK, stream=key_stream(key_id), limit=1)
    if not found or found[0].payload is None:
        raise NotFoundError("the event of the destruction is not there, or its payload was erased")
    return found[0]


def _exports(work: Reading, key_id: UUID) -> list[Document]:
    """Copies that left the service, which nobody here can destroy: they are named all the same."""
    kind, stream = EventType.KEY_EXPORTED, key_stream(key_id)
    found, _ = work.audit.page(type=kind, stream=stream, limit=500)
    left = {str(Outcome.OK), str(Outcome.UNKNOWN)}
    return [
        {"request": one.header["op"], "at": text_of(one.time), "outcome": one.header["out"]}
        for one in found
        if one.header["out"] in left
    ]


def _backups(work: Reading, key: Key) -> list[Document]:
    """Backups that still hold the key, wrapped: what was written down cannot be unwritten.

    Each is dead once the backup is destroyed, or the backup key and enough of its shares.
    """
    return [_copy(work, one) for one in work.backups.holding(key)]


def _copy(work: Reading, backup: Backup) -> Document:
    backup_key = work.backups.key(backup.backup_key)
    alive = sum(one.state in ALIVE for one in work.backups.shares(backup_key.id))
    return {
        "backup": str(backup.id),
        "taken_at": text_of(backup.taken_at),
        "place": backup.place,
        "backup_key": str(backup_key.id),
        "backup_key_state": str(backup_key.state),
        "shares_needed": backup_key.threshold,
        "shares_left": alive,
    }


def _certified(actor: str, role: str, key: Key, made: DestructionCertificate) -> AuditEvent:
    told = {
        "sha256": sha256(made.statement).hexdigest(),
        "signature": b64encode(made.signature).decode(),
    }
    kind = EventType.KEY_DESTRUCTION_CERTIFIED
    return key_event(kind, actor, role, key, told, operation=key.id)


def follow(vault: Vault, actor: str, role: str, key_id: UUID) -> None:
    """Certify at once, right after the destruction; what fails now can be made up for later."""
    try:
        certify(vault, actor, role, key_id)
    except (HsmError, VaultError) as error:
        log.warning("no certificate of destruction for %s yet: %s", key_id, error)


def make(vault: Vault, who: Principal, key_id: UUID) -> DestructionCertificate:
    """Return a key's certificate of destruction, and make it if there was none."""
    permitted = permit(vault, who, Action.KEY_RECORD, keys.get(vault, who, key_id))
    return certify(vault, who.actor, permitted.role, key_id)


def get(vault: Vault, who: Principal, key_id: UUID) -> DestructionCertificate:
    """Raises `NotFoundError` where there is none."""
    keys.get(vault, who, key_id)
    with vault.database.reading() as work:
        found = work.custody.certificate(key_id)
    if found is None:
        raise NotFoundError(
            f"key {key_id} has no certificate of destruction",
            next_step="a custodian makes it once the key is destroyed",
        )
    return found
