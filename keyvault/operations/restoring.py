"""Restorations and drills: shares go in one by one, then the file, then a verdict for the log."""

from dataclasses import replace
from uuid import UUID

from hsm.errors import HsmError
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.backups import ALIVE, Restoration, RestorationState, Share
from keyvault.domain.canonical import Document
from keyvault.domain.errors import (
    NotFoundError,
    NotPermittedError,
    RequestStateError,
    VaultError,
)
from keyvault.domain.people import thumbprint
from keyvault.domain.standing import Reach
from keyvault.operations.acts.backups import second
from keyvault.operations.vault import Vault, key_stream, permit
from keyvault.store.unit_of_work import Reading

_LOST: Document = {"ok": False, "reason": "the gate was restarted; what it had restored is gone"}


def page(
    vault: Vault, who: Principal, after: str | None = None, limit: int = 50
) -> tuple[list[Restoration], str | None]:
    """List restorations and drills, the newest first, and the cursor of the next page."""
    permit(vault, who, Action.KEY_READ)
    with vault.database.reading() as work:
        return work.backups.restorations(after, limit)


def get(vault: Vault, who: Principal, restoration_id: UUID) -> Restoration:
    permit(vault, who, Action.KEY_READ)
    with vault.database.reading() as work:
        return work.backups.restoration(restoration_id)


def own_key(vault: Vault, who: Principal) -> Document:
    """The own key of the second token's gate, and whether people have let it be believed.

    Raises `NotFoundError` where there is no second token.
    """
    permit(vault, who, Action.KEY_READ)
    if vault.spare is None:
        raise NotFoundError("there is no second token", next_step="set one up under [spare]")
    spki = vault.spare.own_key()
    with vault.database.reading() as work:
        believed = vault.authority(work).spare
    return {"spki": spki, "fingerprint": thumbprint(spki), "believed": spki == believed}


def enter(vault: Vault, who: Principal, restoration_id: UUID, box: bytes) -> Restoration:
    """Pass a holder's sealed share to the gate. Raises `ShareInvalidError`: it does not count."""
    role, restoration = _collecting(vault, who, restoration_id, Action.KEY_RECORD)
    with vault.database.reading() as work:
        share = _held(work, who, restoration)
    try:
        answer = second(vault).enter_share(restoration_id.bytes, share.number, box)
    except (HsmError, VaultError) as error:
        told: Document = {"number": share.number, "code": error.code, "reason": str(error)}
        _tell(vault, who.actor, role, restoration, EventType.SHARE_ENTERED, Outcome.REFUSED, told)
        raise
    entered = (*restoration.entered, share.number)
    return _tell(
        vault,
        who.actor,
        role,
        replace(restoration, entered=entered),
        EventType.SHARE_ENTERED,
        Outcome.OK,
        {"number": share.number, "holder": share.holder, "rebuilt": answer["rebuilt"]},
    )


def take(vault: Vault, who: Principal, restoration_id: UUID, offset: int, lines: bytes) -> Document:
    """Pass the part of the file at `offset` to the gate; say how many keys are there by now."""
    _collecting(vault, who, restoration_id, Action.REQUEST_EXECUTE)
    return second(vault).restore_lines(restoration_id.bytes, offset, lines)


def end(vault: Vault, who: Principal, restoration_id: UUID, *, keep: bool) -> Restoration:
    """End it: what came of it is an event, with every count. What is not whole is undone."""
    role, restoration = _collecting(vault, who, restoration_id, Action.REQUEST_EXECUTE)
    try:
        report = second(vault).end_restoration(restoration_id.bytes, keep)
    except RequestStateError as error:  # its gate was restarted: shares and counts are gone
        report = {"ok": False, "reason": str(error)}
    return _ended(vault, who.actor, role, restoration, report)


def _ended(
    vault: Vault, actor: str, role: str, restoration: Restoration, report: Document
) -> Restoration:
    good = bool(report["ok"])
    state = RestorationState.DONE if good else RestorationState.FAILED
    done = replace(restoration, state=state, done_at=vault.clock(), report=report)
    kind = EventType.KEY_DRILLED if restoration.drill else EventType.KEY_RESTORED
    outcome = Outcome.OK if good else Outcome.FAIL
    return _tell(vault, actor, role, done, kind, outcome, report)


def cut_off(vault: Vault, actor: str) -> list[Restoration]:
    """Write down of each restoration that its gate knows nothing of that it failed."""
    if vault.spare is None:
        return []
    under_way = set(vault.spare.restorations())
    with vault.database.reading() as work:
        lost = [one for one in work.backups.collecting() if str(one.id) not in under_way]
    return [_ended(vault, actor, "", one, _LOST) for one in lost]


def _collecting(
    vault: Vault, who: Principal, restoration_id: UUID, action: Action
) -> tuple[str, Restoration]:
    with vault.database.reading() as work:
        restoration = work.backups.restoration(restoration_id)
        scope = work.backups.key(work.backups.get(restoration.backup).backup_key).scope
    permitted = permit(vault, who, action, where=scope or Reach.ALL)
    if restoration.state is not RestorationState.COLLECTING:
        raise RequestStateError(f"the restoration is {restoration.state}")
    return permitted.role, restoration


def _held(work: Reading, who: Principal, restoration: Restoration) -> Share:
    backup = work.backups.get(restoration.backup)
    for share in work.backups.shares(backup.backup_key, who.id):
        if share.state in ALIVE:
            return share
    raise NotPermittedError(
        f"{who.id} holds no share of this backup key", next_step="see keyvault shares list"
    )


def _tell(
    vault: Vault,
    actor: str,
    role: str,
    restoration: Restoration,
    kind: EventType,
    outcome: Outcome,
    told: Document,
) -> Restoration:
    about: Document = {"restoration": str(restoration.id), "backup": str(restoration.backup)}
    with vault.database.work() as work:
        backup = work.backups.get(restoration.backup)
        work.backups.change_restoration(restoration)
        stream = key_stream(backup.backup_key)
        payload, operation = {**about, **told}, restoration.id
        said = (kind, outcome, operation, stream, actor, payload, role, backup.scope)
        work.commit(AuditEvent(*said))
    return restoration
