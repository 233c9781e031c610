"""What ends, and what nobody has decided on: forecast, alarm, and events when it comes so far."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyvault.domain.access import Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.certificates import WARNINGS, Certificate, CertificateState
from keyvault.domain.errors import ConflictError
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of
from keyvault.operations.certificates import CHUNK, event, scopes_for
from keyvault.operations.vault import Vault
from keyvault.store.unit_of_work import Reading, Work

ACTOR = "service:api"


@dataclass(frozen=True, slots=True)
class Watch:
    """Figures for an alarm. `undecided` wait for a person and may still be rejected in time."""

    states: dict[CertificateState, int]  # of our own
    undecided: int
    urgent: int  # of these, due within `certificates.alarm_before`
    overdue: int  # the authority takes them as accepted
    ending: dict[int, int]  # by the days of each warning; those that have ended count in each


def ending(
    vault: Vault,
    who: Principal,
    days: int,
    scope: Scope | None = None,
    after: str | None = None,
    limit: int = 50,
) -> tuple[list[Certificate], str | None]:
    """List what ends within so many days, ours and others', the first to end first."""
    scopes = scopes_for(vault, who, scope)
    with vault.database.reading() as work:
        before = vault.clock() + timedelta(days=days)
        return work.certificates.ending(before, scope, scopes, after, limit)


def watch(vault: Vault, work: Reading) -> Watch:
    """Count what an operator has to know of."""
    now, rooms = vault.clock(), work.certificates
    alarm = timedelta(hours=vault.settings.certificates.alarm_before)
    states = rooms.counts()
    overdue = rooms.count_undecided(now)
    return Watch(
        states=states,
        undecided=states.get(CertificateState.ISSUED, 0) - overdue,
        urgent=rooms.count_undecided(now + alarm) - overdue,
        overdue=overdue,
        ending={days: rooms.count_ending(now + timedelta(days=days)) for days in WARNINGS},
    )


def remark(vault: Vault) -> str:
    """What health says of certificates. It is never a reason not to sign."""
    with vault.database.reading() as work:
        found = watch(vault, work)
    said = {
        "are overdue: nobody decided on them in time": found.overdue,
        "have to be accepted or rejected soon": found.urgent,
        f"end within {WARNINGS[-1]} days": found.ending[WARNINGS[-1]],
    }
    parts = [f"{count} {what}" for what, count in said.items() if count]
    return "; ".join([*parts, "see runbook certificates-due"]) if parts else ""


def sweep(vault: Vault) -> int:
    """Write down what the clock has brought about since the last time; return how much.

    Nothing depends on it: what has ended is refused by the clock, whether this runs or not.
    """
    with vault.database.reading() as work:
        due = list(_due(work, vault.clock()))
    if not due:
        return 0
    try:
        with vault.database.work() as work:
            events = list(_written(work, due))
            work.commit(events[0], *events[1:])
    except ConflictError:  # another process was first
        return 0
    return len(due)


def _due(work: Reading, now: datetime) -> Iterator[Certificate]:
    yield from work.certificates.undecided(now, CHUNK)
    yield from work.certificates.ending(now, limit=CHUNK)[0]


def _written(work: Work, due: list[Certificate]) -> Iterator[AuditEvent]:
    for one in due:
        if one.state is CertificateState.ISSUED and one.decide_until is not None:
            work.certificates.change(one.noted_overdue())
            since = {"since": text_of(one.decide_until)}
            yield event(EventType.CERT_OVERDUE, ACTOR, "", one, dict(since), Outcome.FAIL)
        elif one.not_after is not None:
            expired = one.to(CertificateState.EXPIRED)
            work.certificates.change(expired)
            yield event(
                EventType.CERT_EXPIRED, ACTOR, "", expired, {"ended": text_of(one.not_after)}
            )
