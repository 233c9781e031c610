"""Shares of backup keys: who holds them, where they lie, and when somebody last looked."""

from dataclasses import dataclass
from uuid import UUID, uuid4

from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.backups import Share, ShareState
from keyvault.domain.canonical import Document
from keyvault.domain.errors import NotPermittedError
from keyvault.domain.standing import Reach, Where
from keyvault.operations.vault import Once, Vault, key_stream, permit, recall, remember
from keyvault.store.unit_of_work import Reading

OWN = "a share is opened and confirmed by its holder alone"
# What others may say of a share that is not theirs: that it is gone, or came back.
OF_OTHERS = frozenset({ShareState.LOST, ShareState.RETURNED, ShareState.DESTROYED})


def page(vault: Vault, who: Principal, backup_key: UUID | None, holder: str | None) -> list[Share]:
    """List shares, of a key or of a person; there are few."""
    permit(vault, who, Action.KEY_READ)
    with vault.database.reading() as work:
        return work.backups.shares(backup_key, holder)


def open_envelope(vault: Vault, who: Principal, backup_key: UUID, number: int) -> Share:
    """Give a holder the envelope of their share; the log says so before it leaves."""
    with vault.database.reading() as work:
        where = _where(work, backup_key)
    permitted = permit(vault, who, Action.KEY_RECORD, where=where)
    with vault.database.work() as work:
        share = _own(work, who, backup_key, number)
        work.commit(_event(work, EventType.SHARE_OPENED, who.actor, permitted.role, share))
        return share


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says of a share: what it is now, where, in which bag, and why."""

    state: ShareState
    place: str = ""
    bag: str = ""
    reason: str = ""


def move(
    vault: Vault,
    who: Principal,
    backup_key: UUID,
    number: int,
    said: Said,
    once: Once | None = None,
) -> Share:
    """Record where a share is now. Raises `ShareStateError`, also where its bag is another."""
    with vault.database.reading() as work:
        where = _where(work, backup_key)
    permitted = permit(vault, who, Action.KEY_RECORD, where=where)
    with vault.database.work() as work:
        share = work.backups.share(backup_key, number)
        if recall(work, who, once):
            return share
        if said.state not in OF_OTHERS:
            share = _own(work, who, backup_key, number)
        moved = share.to(said.state, vault.clock(), said.place, said.bag)
        work.backups.change_share(moved)
        remember(work, who, once, {"number": number})
        event = _event(work, _kind(said), who.actor, permitted.role, moved)
        event.payload["reason"] = said.reason
        work.commit(event)
        return moved


def _kind(said: Said) -> EventType:
    gone = said.state is ShareState.DESTROYED
    return EventType.SHARE_DESTROYED if gone else EventType.SHARE_MOVED


def _own(work: Reading, who: Principal, backup_key: UUID, number: int) -> Share:
    share = work.backups.share(backup_key, number)
    if share.holder != who.id:
        raise NotPermittedError(OWN, next_step=f"share {number} is held by {share.holder}")
    return share


def _where(work: Reading, backup_key: UUID) -> Where:
    return work.backups.key(backup_key).scope or Reach.ALL


def _event(work: Reading, kind: EventType, actor: str, role: str, share: Share) -> AuditEvent:
    names = ("number", "holder", "fingerprint", "place", "bag")
    payload: Document = {name: getattr(share, name) for name in names}
    return AuditEvent(
        type=kind,
        outcome=Outcome.OK,
        operation=uuid4(),
        stream=key_stream(share.backup_key),
        actor=actor,
        role=role,
        scope=work.backups.key(share.backup_key).scope,
        payload={"backup_key": str(share.backup_key), "state": str(share.state), **payload},
    )
