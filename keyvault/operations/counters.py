"""Originator counters: reserved in the database, remembered by the gate, given once for ever.

A number is given in three steps: the database takes it and says so in the log, the gate notes it
where no restored database reaches, the log says that it was given. Whoever dies in between loses
numbers. If the gate has seen a number before, the database is an old one: it is made to catch
up, the log says that too, and higher numbers are given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID, uuid4

from keyvault.domain.access import Action, Permit, Principal, readable
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.counters import Counter, Issued, Series
from keyvault.domain.errors import CounterRegressionError, NotPermittedError
from keyvault.domain.gbcs import CellUsage
from keyvault.domain.people import System
from keyvault.domain.scopes import Scope
from keyvault.operations.vault import Once, Vault, permit, recall, remember
from keyvault.store.log import Receipt

_MakeEvent = Callable[[EventType, Outcome, Document], AuditEvent]
TRIES = 3  # of which all but the first follow a restore


@dataclass(frozen=True, slots=True)
class Reserved:
    """Numbers that belong to the caller, and where the log says so."""

    series: Series
    issued: Issued
    index: int
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class _Call:
    """One caller's act on one series."""

    who: Principal
    permitted: Permit
    scope: Scope
    series: Series
    operation: UUID

    def event(self, kind: EventType, outcome: Outcome, payload: Document) -> AuditEvent:
        return AuditEvent(
            type=kind,
            outcome=outcome,
            operation=self.operation,
            stream=f"counter:{self.series}",
            actor=self.who.actor,
            role=self.permitted.role,
            scope=self.scope,
            payload={"series": str(self.series), **payload},
        )


def reserve(
    vault: Vault,
    who: Principal,
    cell_usage: CellUsage,
    recipient: str = "",
    count: int = 1,
    once: Once | None = None,
) -> Reserved:
    """Give 1 to 1,000 counters to a system, of its own organisation and user id.

    Raises `InvalidInputError`, `NotPermittedError`, `CounterRegressionError` if the gate refuses
    again and again.
    """
    call = _call(who, permit(vault, who, Action.KEY_DERIVE), cell_usage, recipient)
    for _ in range(TRIES):
        issued = _taken(vault, call, count, once)
        if isinstance(issued, Reserved):
            return issued
        try:
            vault.gate.issue_counters(str(call.series), issued.first, issued.last)
        except CounterRegressionError:
            caught_up(vault, call.event, call.series, vault.gate.counter(str(call.series)))
        else:
            return _given(vault, call, issued, once)
    raise CounterRegressionError(
        f"the gate refuses the counters of {call.series}",
        next_step="see the runbook counter-regression",
    )


def raise_floor(
    vault: Vault,
    who: Principal,
    series: Series,
    scope: Scope,
    floor: int,
    reason: str,
    once: Once | None = None,
) -> Counter:
    """Leave out all counters up to `floor`, also those that were given and not used yet."""
    call = _Call(who, permit(vault, who, Action.KEY_CHANGE, where=scope), scope, series, uuid4())
    with vault.database.reading() as reading:
        if recall(reading, who, once):
            return reading.counters.get(series)
        reading.counters.get(series).raised(floor)  # a floor that will not do, before the gate acts
    vault.gate.raise_counter(str(series), floor)
    with vault.database.work() as work:
        before = work.counters.lock(series, vault.clock())
        after = before.raised(floor)
        work.counters.put(after)
        remember(work, who, once, {"floor": text(floor)})
        payload = {"before": text(before.floor), "after": text(floor), "reason": reason}
        work.commit(call.event(EventType.COUNTER_FLOOR_RAISED, Outcome.OK, payload))
    return after


def page(
    vault: Vault, who: Principal, after: str | None = None, limit: int = 50
) -> tuple[list[Counter], str | None]:
    """List series, oldest first: those of the organisations in the caller's scopes."""
    permit(vault, who, Action.KEY_READ)
    own = readable(who, Action.KEY_READ, vault.clock())
    parties = None if own is None else {scope.party for scope in own}
    with vault.database.reading() as work:
        return work.counters.page(parties=parties, after=after, limit=limit)


def text(number: int) -> str:
    """A counter as GBCS writes it: 8 bytes in hex. JSON's numbers end at 2^53."""
    return f"{number:016X}"


def caught_up(vault: Vault, event: _MakeEvent, series: Series, highest: int) -> None:
    """Bring an old database up to what the gate has seen, and say so in the log."""
    with vault.database.work() as work:
        counter = work.counters.lock(series, vault.clock())
        work.counters.put(counter.caught_up(highest))
        payload = {"issued": text(counter.issued), "highest": text(highest)}
        work.commit(event(EventType.COUNTER_REGRESSION_BLOCKED, Outcome.REFUSED, payload))


def _call(who: Principal, permitted: Permit, cell_usage: CellUsage, recipient: str) -> _Call:
    if not isinstance(who.subject, System):
        raise NotPermittedError("counters are given to systems", next_step="enrol a system")
    scope = who.subject.scope
    return _Call(who, permitted, scope, Series.of(scope, cell_usage, recipient), uuid4())


def _taken(vault: Vault, call: _Call, count: int, once: Once | None) -> Issued | Reserved:
    """Take the next numbers in the database; nobody has them yet. Or find an earlier answer."""
    with vault.database.work() as work:
        if earlier := recall(work, call.who, once):
            return _reserved(call.series, earlier)
        counter, issued = work.counters.lock(call.series, vault.clock()).issue(count)
        work.counters.put(counter)
        remember(work, call.who, once, None)
        work.commit(call.event(EventType.COUNTER_ADVANCED, Outcome.INTENT, _payload(issued)))
    return issued


def _given(vault: Vault, call: _Call, issued: Issued, once: Once | None) -> Reserved:
    def note(receipts: list[Receipt]) -> None:
        if once is not None:
            work.idempotency.finish(call.who.actor, once.key, _outcome(issued, receipts[0]))

    with vault.database.work() as work:
        event = call.event(EventType.COUNTER_ADVANCED, Outcome.OK, _payload(issued))
        [receipt] = work.commit(event, note=note)
    return Reserved(call.series, issued, receipt.index, receipt.leaf_hash)


def _payload(issued: Issued) -> Document:
    return {
        "first": text(issued.first),
        "last": text(issued.last),
        "step": text(issued.step),
        "count": issued.count,
    }


def _outcome(issued: Issued, receipt: Receipt) -> Document:
    place = {"index": receipt.index, "leaf_hash": receipt.leaf_hash.hex()}
    return {**_payload(issued), **place}


def _reserved(series: Series, outcome: Document) -> Reserved:
    first, last, step = (int(outcome[name], 16) for name in ("first", "last", "step"))
    leaf_hash = bytes.fromhex(outcome["leaf_hash"])
    return Reserved(series, Issued(first, last, step), outcome["index"], leaf_hash)
