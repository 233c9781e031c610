"""Sealing the heads of streams: once a day, and with every pack of one scope."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.heads import STREAM, StreamHead, ordered
from keyvault.domain.tree import root_of
from keyvault.operations.vault import Vault

ACTOR = "service:clerk"
EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SealedHeads:
    """All heads of the first `size` events, in order, and the event that has their root."""

    index: int
    size: int
    heads: list[StreamHead]


def seal(vault: Vault) -> SealedHeads:
    """Work out the heads of everything that is committed, and write down their root."""
    with vault.database.reading() as work:
        size = work.audit.head().size
        heads = ordered(work.audit.heads(size))
    root = root_of([head.leaf for head in heads]).hex()
    event = AuditEvent(
        type=EventType.AUDIT_STREAM_HEADS,
        outcome=Outcome.OK,
        operation=uuid4(),
        stream=STREAM,
        actor=ACTOR,
        payload={"size": size, "count": len(heads), "root": root},
    )
    with vault.database.work() as work:
        (receipt,) = work.commit(event)
    return SealedHeads(receipt.index, size, heads)


def daily(vault: Vault) -> int:
    """Seal them if the last time lies further back than a day."""
    with vault.database.reading() as work:
        newest = work.audit.newest_of(STREAM)
    if newest is not None and vault.clock() - newest.time < EVERY:
        return 0
    seal(vault)
    return 1
