"""Purging what events said when their time is over, and ending holds on them."""

import json

from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document
from keyvault.domain.commands import Command, LiftLogHold, PurgePayloads
from keyvault.domain.errors import NotFoundError
from keyvault.domain.retention import MOST, bits_of, check_age
from keyvault.operations import retention
from keyvault.operations.acts.base import Act, Acting, Asking
from keyvault.store.unit_of_work import Work


def _check_purge(_: Asking, __: PurgePayloads) -> None:
    """Nothing could be said here that holds later: age and holds are looked at when it is done."""


def _purged(acting: Acting, work: Work, command: PurgePayloads, _: Document) -> Document:
    """Purge a portion, which is written down with it. With `more` the request goes on."""
    work.log.lock()  # from here on nobody sets a hold, nor takes the same portion
    earlier = [json.loads(event.payload or b"{}") for event in retention.purges_of(work, acting.id)]
    last: Document = earlier[-1] if earlier else {"end": 0, "total": 0, "archives": []}
    now, days = acting.vault.clock(), acting.vault.settings.audit.days(command.retention)
    check_age(command.retention, command.before, now, days)
    events, more = retention.due(acting.vault, work, command, last["end"])
    if not events:
        raise NotFoundError("no event of this class is that old and free to go")
    work.erase(events, now)
    told: Document = {"retention": str(command.retention), "before": command.before, "days": days}
    total = last["total"] + len(events)
    archives = sorted({*last["archives"], *retention.archived(work, events)})
    told |= {"archives": archives, "total": total, "more": more and total < MOST}
    return {**told, **bits_of(events)}


def _check_lift(asking: Asking, command: LiftLogHold) -> None:
    if command.hold not in retention.standing(asking.work):
        raise NotFoundError("no such hold stands", next_step="keyvault audit holds")


def _lifted(_: Acting, work: Work, command: LiftLogHold, __: Document) -> Document:
    found = retention.standing(work).get(command.hold)
    if found is None:
        raise NotFoundError("no such hold stands", next_step="keyvault audit holds")
    return {"hold": str(command.hold), "about": found.about}


ACTS: dict[type[Command], Act] = {
    PurgePayloads: Act(EventType.PAYLOAD_PURGED, _check_purge, _purged, device=False),
    LiftLogHold: Act(EventType.AUDIT_HOLD_LIFTED, _check_lift, _lifted, device=False),
}
