"""The log as auditors read it: events, checkpoints, proofs and the evidence they take away."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from uuid import uuid4

from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.chain import Record
from keyvault.domain.errors import InvalidInputError, NotFoundError
from keyvault.domain.life import Moment
from keyvault.domain.people import System
from keyvault.domain.scopes import Scope
from keyvault.domain.telling import sentence
from keyvault.domain.tree import consistency_proof, inclusion_proof
from keyvault.domain.witnessing import Level, Levels
from keyvault.evidence.choosing import EITHER
from keyvault.operations.vault import Vault, permit
from keyvault.operations.witnesses import Events, levels
from keyvault.store.audit import LoggedEvent
from keyvault.store.unit_of_work import Reading

EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class EventQuery:
    """What to look for. None leaves a field open; `since` is included, `until` is not."""

    type: EventType | None = None
    outcome: Outcome | None = None
    stream: str | None = None
    actor: str | None = None
    scope: Scope | None = None
    since: datetime | None = None
    until: datetime | None = None
    role: str | None = None
    about: str | None = None  # a stream or an actor, such as person:alice
    types: tuple[EventType, ...] = ()

    def document(self) -> Document:
        names = (field.name for field in fields(self))
        chosen = {name: getattr(self, name) for name in names}
        types = {"types": [str(kind) for kind in self.types]} if self.types else {}
        del chosen["types"]
        return {name: str(value) for name, value in chosen.items() if value is not None} | types

    def filter(self) -> dict[str, list[str]]:
        """The same as values of header fields, but for the times, which choose a range."""
        chosen = self.document()
        found = {header: [chosen[name]] for name, header in _HEADERS.items() if name in chosen}
        return found | ({"ty": sorted(map(str, self.types))} if self.types else {})


_HEADERS = {
    "type": "ty",
    "outcome": "out",
    "stream": "st",
    "actor": "ac",
    "scope": "sc",
    "role": "ro",
    "about": EITHER,
}


def page(
    vault: Vault, who: Principal, query: EventQuery, after: str | None = None, limit: int = 50
) -> Events:
    """List events, oldest first, the cursor of the next page, and how far levels reach.

    Asking is an event too.
    """
    permitted = permit(vault, who, Action.AUDIT_READ)
    with vault.database.reading() as work:
        found, following = work.audit.page(
            type=query.type,
            outcome=query.outcome,
            stream=query.stream,
            actor=query.actor,
            scope=query.scope,
            since=query.since,
            until=query.until,
            after=after,
            limit=limit,
        )
        covered = levels(vault, work)
    with vault.database.work() as work:
        work.commit(
            event_of(EventType.AUDIT_QUERIED, who, permitted.role, {"query": query.document()})
        )
    return found, following, covered


def life(
    vault: Vault, who: Principal, about: str, after: str | None = None, limit: int = 50
) -> tuple[list[Moment], str | None, Levels]:
    """Tell what happened to a key, token or person, or was done by them, the oldest first.

    `about` is a stream or an actor, such as `person:alice`. Names are those that people had when
    they were registered, even if they have left. Two pages by index, merged: a page costs the
    same wherever it lies. Asking is an event too.
    """
    permitted = permit(vault, who, Action.AUDIT_READ)
    with vault.database.reading() as work:
        streams, _ = work.audit.page(stream=about, after=after, limit=limit)
        acts, _ = work.audit.page(actor=about, after=after, limit=limit)
        names, covered = names_of(work.authority.records()), levels(vault, work)
    merged = {event.index: event for event in (*streams, *acts)}
    found = sorted(merged.values(), key=lambda event: (event.header["t"], event.index))[:limit]
    query: Document = {"query": {"about": about}}
    with vault.database.work() as work:
        work.commit(event_of(EventType.AUDIT_QUERIED, who, permitted.role, query))
    last = found[-1] if len(found) == limit else None
    following = None if last is None else f"{last.header['t']}.{last.index}"
    return [_moment(names, event) for event in found], following, covered


def _moment(names: Mapping[str, str], event: LoggedEvent) -> Moment:
    header, payload = event.header, json.loads(event.payload) if event.payload else {}
    kind, outcome, actor = EventType(header["ty"]), Outcome(header["out"]), header["ac"]
    name = f"{names[actor]} ({actor})" if actor in names else actor
    told = sentence(kind, outcome, name, payload)
    return Moment(event.time, event.index, kind, outcome, actor, told)


def names_of(records: Sequence[Record]) -> dict[str, str]:
    """Full names by actor, of everybody who was ever registered: people leave, events stay."""
    found: dict[str, str] = {}
    for record in records:
        request = record.request
        asked = request.get("parameters", {})
        for new in (*request.get("officers", ()), asked):
            for kind in ("person", "system"):
                if kind in new and "full_name" in new:
                    found[f"{kind}:{new[kind]}"] = new["full_name"]
    return found


def event(vault: Vault, who: Principal, index: int) -> tuple[LoggedEvent, Level]:
    """Return an event and what stands behind it. Raises `NotFoundError`."""
    permit(vault, who, Action.AUDIT_READ)
    with vault.database.reading() as work:
        return work.audit.event(index), levels(vault, work).of(index)


def checkpoint(vault: Vault, who: Principal, size: int | None = None) -> str:
    """Return the newest signed note, or the first that covers `size` events, as cosigned so far.

    Everybody who can log in may watch the log: approvers hold it against what they saw before.
    """
    _permit(vault, who)
    with vault.database.reading() as work:
        found = work.audit.checkpoint(size)
    if found is None:
        raise NotFoundError("there is no such checkpoint yet", next_step="try again in a second")
    with vault.database.reading() as work:
        return work.audit.cosigned(found.size)


def inclusion(vault: Vault, who: Principal, index: int, size: int) -> tuple[list[bytes], Level]:
    """Return the hashes that lead from a leaf to the root of the tree of `size` (RFC 6962).

    With them the level of the leaf.
    """
    _permit(vault, who)
    with vault.database.reading() as work:
        check_size(work, index + 1, size)
        return inclusion_proof(work.audit.hashes(), index, size), levels(vault, work).of(index)


def consistency(vault: Vault, who: Principal, old: int, new: int) -> list[bytes]:
    """Return the hashes that show the tree of `new` to begin with the tree of `old`."""
    _permit(vault, who)
    with vault.database.reading() as work:
        check_size(work, old, new)
        return consistency_proof(work.audit.hashes(), old, new)


def _permit(vault: Vault, who: Principal) -> None:
    """Every person may follow the log, and systems that may read keys."""
    is_system = isinstance(who.subject, System)
    permit(vault, who, Action.KEY_READ if is_system else Action.AUTHORITY_READ)


def check_size(work: Reading, smaller: int, larger: int) -> None:
    size = work.audit.head().size
    if not 0 < smaller <= larger:
        raise InvalidInputError("give sizes in order, from 1 on")
    if larger > size:
        raise NotFoundError(f"the log has {size} events", next_step=f"ask for at most {size}")


def event_of(kind: EventType, who: Principal, role: str, payload: Document) -> AuditEvent:
    return AuditEvent(kind, Outcome.OK, uuid4(), "log", who.actor, payload, role)
