"""Stations and their readers: what desks say of them, who is shown it, and what is an alarm."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import BusyError
from keyvault.domain.notices import Notice, holders
from keyvault.domain.people import Role
from keyvault.domain.stations import GONE, UNHEARD, WORDS, Station, StationState
from keyvault.domain.times import text_of
from keyvault.operations.issuing import station_of
from keyvault.operations.vault import Vault, permit
from keyvault.settings import StationSettings
from keyvault.store.unit_of_work import Reading

ACTOR = "service:clerk"
PAUSE = timedelta(seconds=2)  # between two changes of one station: a loose plug fills no log


@dataclass(frozen=True, slots=True)
class Outlook:
    """A station of the settings: its last word, if there is one, and what is unfinished there."""

    settings: StationSettings
    said: Station | None
    shown: str  # a state, or that it is silent, or was never heard
    jobs: tuple[UUID, ...]

    @property
    def alarm(self) -> str:
        return self.said.alarm if self.said else ""


def report(vault: Vault, who: Principal, name: str, state: StationState, reader: str) -> float:
    """A desk speaks for its station; return how many seconds later it has to speak again.

    Raises `NotPermittedError` for a station of no settings, and `BusyError` on the second change
    within `PAUSE`. The same word again is no event.
    """
    permit(vault, who, Action.TOKEN_ISSUE)
    station_of(vault, name)
    now, again = vault.clock(), vault.settings.issuing.alarm_after / WORDS
    with vault.database.reading() as work:
        known = work.stations.all().get(name)
    if known is None or known.state is not state:
        _changed(vault, who, Station(name, state, reader, who.id, now, now))
    elif now - known.heard_at >= timedelta(seconds=again / 2):
        with vault.database.hearing() as stations:
            locked = stations.lock(known)
            if locked.state is state:  # a change comes with an event, whoever was first
                stations.put(locked.heard(state, reader, who.id, now))
    return again


def _changed(vault: Vault, who: Principal, said: Station) -> None:
    long_ago = said.heard_at - PAUSE
    unheard = replace(said, state=StationState.LEFT, since=long_ago, heard_at=long_ago)
    with vault.database.work() as work:
        before = work.stations.lock(unheard)
        if before.state is said.state:
            return
        soon = said.heard_at - before.heard_at < PAUSE
        if soon and said.state is not StationState.LEFT:  # who goes does not come back for it
            raise BusyError(
                f"station {said.name} spoke a moment ago", retry_after=PAUSE.total_seconds()
            )
        work.stations.put(before.heard(said.state, said.reader, who.id, said.heard_at))
        work.commit(_reported(who, said, before.state))


def outlooks(vault: Vault, who: Principal) -> list[Outlook]:
    """Every station of the settings, in their order."""
    permit(vault, who, Action.TOKEN_READ)
    with vault.database.reading() as work:
        return current(vault, work)


def current(vault: Vault, work: Reading) -> list[Outlook]:
    settings = vault.settings.issuing
    if not settings.stations:
        return []
    said, jobs = work.stations.all(), work.issuing.in_work()
    now, patience = vault.clock(), timedelta(seconds=settings.alarm_after)
    return [
        Outlook(
            settings=each,
            said=said.get(each.name),
            shown=said[each.name].shown(now, patience) if each.name in said else UNHEARD,
            jobs=tuple(jobs.get(each.name, ())),
        )
        for each in settings.stations
    ]


def sweep(vault: Vault) -> int:
    """Write down which stations keep a job waiting, and which no longer; return how many."""
    with vault.database.reading() as work:
        said = [one.said for one in current(vault, work) if one.said and _differs(vault, one)]
    return sum(_swept(vault, one) for one in said)


def _differs(vault: Vault, one: Outlook) -> bool:
    return one.said is not None and _alarm(vault, one.said, one.jobs) != one.alarm


def _swept(vault: Vault, seen: Station) -> bool:
    with vault.database.work() as work:
        said = work.stations.lock(seen)  # the desk, or another host's clerk, may have been first
        jobs = work.issuing.in_work().get(said.name, [])
        alarm = _alarm(vault, said, jobs)
        if alarm == said.alarm:
            return False
        work.stations.put(replace(said, alarm=alarm))
        work.commit(_told(said, jobs, alarm))
    return True


def _alarm(vault: Vault, said: Station, jobs: Sequence[UUID]) -> str:
    patience = timedelta(seconds=vault.settings.issuing.alarm_after)
    return said.lasting(vault.clock(), patience) if jobs else ""


def remark(vault: Vault) -> str:
    """What health says: jobs that wait for a station. It is never a reason not to sign."""
    with vault.database.reading() as work:
        alarmed = [one for one in current(vault, work) if one.alarm]
    told = "; ".join(f"station {one.settings.name} is {one.alarm} in mid-job" for one in alarmed)
    return f"{told}; see runbook station-lost" if told else ""


def notices(vault: Vault, work: Reading) -> Iterator[Notice]:
    """Tell everybody who makes tokens of a station that keeps a job waiting."""
    alarmed = [(one, one.said) for one in current(vault, work) if one.said and one.alarm]
    if not alarmed:
        return
    people = holders(vault.authority(work), (Role.TOKEN_ISSUER,), vault.clock())
    for one, said in alarmed:
        since = text_of(_since(said))
        jobs = ", ".join(map(str, one.jobs))
        yield Notice(
            key=f"station:{said.name}:{said.alarm}:{since}",
            people=tuple(sorted(people)),
            subject=f"station {said.name} is {said.alarm} in mid-job",
            text=f"Since {since} it is {said.alarm}, and these jobs are not finished: {jobs}. "
            "The runbook station-lost says what to do; the jobs go on at any station.",
            due=_since(said),
        )


def _since(said: Station) -> datetime:
    return said.since if said.state in GONE else said.heard_at


def _reported(who: Principal, said: Station, before: StationState) -> AuditEvent:
    good = said.state not in GONE
    told: Document = {"state": str(said.state), "before": str(before), "reader": said.reader}
    return AuditEvent(
        type=EventType.STATION_REPORTED,
        outcome=Outcome.OK if good else Outcome.FAIL,
        operation=uuid4(),
        stream=_stream(said.name),
        actor=who.actor,
        payload={"station": said.name, **told},
    )


def _told(said: Station, jobs: Sequence[UUID], alarm: str) -> AuditEvent:
    told: Document = {"station": said.name, "reader": said.reader, "jobs": list(map(str, jobs))}
    since: Document = {"since": text_of(_since(said))} if alarm else {}
    return AuditEvent(
        type=EventType.STATION_FAILED if alarm else EventType.STATION_RECOVERED,
        outcome=Outcome.FAIL if alarm else Outcome.OK,
        operation=uuid4(),
        stream=_stream(said.name),
        actor=ACTOR,
        payload={**told, **since, "state": alarm or str(said.state)},
    )


def _stream(name: str) -> str:
    return f"station:{name}"
