"""What waits for one person: signatures, words, reviews, keys that end, shares, drills."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyvault.domain import notices
from keyvault.domain.access import Action, Permit, Principal, decide
from keyvault.domain.approvals import RequestState
from keyvault.domain.authority import Authority
from keyvault.domain.backups import CONFIRM_WITHIN
from keyvault.domain.certificates import WARNINGS
from keyvault.domain.errors import NotPermittedError
from keyvault.domain.people import Person
from keyvault.domain.standing import Reach
from keyvault.operations import reconciliation
from keyvault.operations.vault import Vault, permit
from keyvault.store.unit_of_work import Reading

PAGE = 500
LISTED = 1_000  # of one kind; the rest is found where the command of it lists it
DRILL_WITHIN = timedelta(days=92)  # a restoration is practised every quarter


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that a person has to do. `due` is when it ends or is late, if it ever is."""

    kind: str
    what: str
    due: datetime | None
    command: str


def tasks(vault: Vault, who: Principal) -> list[Task]:
    """List what waits for the caller, what is due first at the top. Systems have no duties."""
    permit(vault, who, Action.SERVICE_READ)
    person = who.subject
    if not isinstance(person, Person):
        raise NotPermittedError("a system has no duties")
    now = vault.clock()
    with vault.database.reading() as work:
        authority = vault.authority(work)
        found = [*_approvals(work, authority, person, now), *_ending(authority, person, now)]
        found += [*_keys(work, person, now), *_shares(work, person), *_codes(work, who, now)]
        if _may(who, Action.KEY_COMPROMISE, now):
            found += _notices(work)
        if _may(who, Action.CERTIFICATE_RECORD, now):
            found += _certificates(work, now)
        drilled = work.backups.last_drill() if work.backups.all_keys() else None
        shared = bool(work.backups.all_keys())
    if _may(who, Action.KEY_RECONCILE, now):
        found += _reconciling(vault)
        if shared:
            done = drilled.done_at if drilled and drilled.done_at else None
            found += _drill(done, now)
    return sorted(found, key=lambda one: (one.due is None, one.due or now, one.kind))


def _may(who: Principal, action: Action, now: datetime) -> bool:
    return isinstance(decide(who, action, now, where=Reach.ANY), Permit)


def _approvals(
    work: Reading, authority: Authority, person: Person, now: datetime
) -> Iterator[Task]:
    after: str | None = None
    while True:
        page, after = work.requests.page(state=RequestState.REQUESTED, after=after, limit=PAGE)
        for asked in page:
            notice = notices.of_request(authority, asked.request, now)
            signed = {approval.approver for approval in asked.approvals}
            if notice and person.id in notice.people and person.id not in signed:
                command = f"keyvault approvals approve {asked.request.id}"
                yield Task("approval", notice.subject, notice.due, command)
        if after is None:
            return


def _ending(authority: Authority, person: Person, now: datetime) -> Iterator[Task]:
    """What ends of theirs, and of others if they are to see to it: screenings, roles, duties."""
    for notice in notices.of_authority(authority, now):
        if person.id in notice.people:
            _, _, command = notice.text.partition("What to do: ")
            yield Task(notice.key.partition(":")[0], notice.subject, notice.due, command)


def _keys(work: Reading, person: Person, now: datetime) -> Iterator[Task]:
    for key in work.keys.owned(person.id, now + timedelta(days=max(WARNINGS)), LISTED):
        what = f"key {key.label} ({key.id}) protects nothing new from then on"
        command = f"keyvault keys order --supersedes {key.id}"
        yield Task("key", what, key.protect_until, command)


def _shares(work: Reading, person: Person) -> Iterator[Task]:
    for share in work.backups.shares(holder=person.id):
        if share.state in ("issued", "confirmed"):
            due = (share.confirmed_at or share.changed_at) + CONFIRM_WITHIN
            said = "say where it lies" if share.state == "issued" else "look at it again"
            what = f"share {share.number} of backup key {share.backup_key}: {said}"
            yield Task("share", what, due, "keyvault shares confirm")


def _codes(work: Reading, who: Principal, now: datetime) -> Iterator[Task]:
    if not _may(who, Action.KEY_SUSPEND, now):
        return
    codes, _ = work.emergency.of(who.id, limit=50)
    good = [one.until for one in codes if one.used_at is None and now < one.until]
    if not good or max(good) - now < timedelta(days=30):
        what = "no sealed code for emergencies is good for another 30 days"
        yield Task("emergency-code", what, max(good, default=None), "keyvault emergency seal")


def _notices(work: Reading) -> Iterator[Task]:
    for case, told in work.compromises.open_cases(LISTED):
        what = f"compromise of {case.key}: {told} of the bodies that have to know were told"
        command = f"keyvault keys compromise-case {case.key}"
        yield Task("compromise", what, case.known_at, command)


def _certificates(work: Reading, now: datetime) -> Iterator[Task]:
    until = now + timedelta(days=7)
    for one in work.certificates.undecided(until, LISTED):
        what = f"certificate {one.id} ({one.subject}) waits to be accepted or rejected"
        command = f"keyvault certificates show {one.id}"
        yield Task("certificate", what, one.decide_until, command)


def _reconciling(vault: Vault) -> Iterator[Task]:
    found = reconciliation.state(vault)
    due = found.since + timedelta(days=vault.settings.reconcile_within)
    what = "hold the register of keys against the tokens"
    yield Task("reconciliation", what, due, "keyvault reconciliations take")
    if found.findings or not found.signed:
        said = f"{found.findings} findings" if found.findings else "nobody signed it"
        what = f"the newest reconciliation: {said}"
        yield Task("reconciliation", what, None, "keyvault reconciliations list")


def _drill(done: datetime | None, now: datetime) -> Iterator[Task]:
    due = (done + DRILL_WITHIN) if done else now
    yield Task("drill", "practise restoring a backup", due, "keyvault backups list")
