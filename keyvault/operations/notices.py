"""Tells people what waits for them and what of theirs will end, once by each way there is."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from uuid import uuid4

from keyvault.domain import notices
from keyvault.domain.approvals import ApprovalRequest, RequestState
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import ConflictError
from keyvault.domain.notices import Carrier, CarrierError, Notice
from keyvault.domain.times import text_of
from keyvault.operations import backup_watch, stations
from keyvault.operations.vault import Vault, request_stream
from keyvault.store.notices import Telling
from keyvault.store.unit_of_work import Reading

ACTOR = "service:clerk"
PAGE = 500
OPEN = (RequestState.REQUESTED, RequestState.APPROVED)


def expire(vault: Vault) -> int:
    """End requests whose time is over; return how many. They could not be used before, either."""
    with vault.database.reading() as work:
        now = vault.clock()
        late = [asked for asked in _open(work) if asked.request.expires_at < now]
    for asked in late:
        with suppress(ConflictError), vault.database.work() as work:  # or somebody was first
            work.requests.change(asked.to(RequestState.EXPIRED))
            work.commit(_expired(asked))
    return len(late)


def tell(vault: Vault, carriers: Sequence[Carrier]) -> int:
    """Send every notice that is due by every carrier that reaches its people; return how many.

    A carrier that fails is left alone until the next time; its failure is one event, until it
    works again.
    """
    with vault.database.reading() as work:
        due = {notice.key: notice for notice in _due(vault, work)}
        told = work.notices.told(due)
    sent = 0
    for carrier in carriers:
        todo = [
            (notice, person)
            for notice in due.values()
            for person in notice.people
            if carrier.reaches(person) and (notice.key, person, carrier.name) not in told
        ]
        sent += _carry(vault, carrier, todo)
    return sent


def remark(vault: Vault) -> str:
    """What health says: a channel that takes nothing. It is never a reason not to sign."""
    with vault.database.reading() as work:
        events = [work.audit.newest_of(_stream(name)) for name in ("mail", "webhook")]
    failed = [event for event in events if event and event.header["ty"] == EventType.NOTICE_FAILED]
    if not failed:
        return ""
    channels = " and ".join(event.header["st"].partition(":")[2] for event in failed)
    return f"people are not told by {channels}; see runbook notices-failing"


def _open(work: Reading) -> Iterator[ApprovalRequest]:
    for state in OPEN:
        after: str | None = None
        while True:
            page, after = work.requests.page(state=state, after=after, limit=PAGE)
            yield from page
            if after is None:
                break


def _due(vault: Vault, work: Reading) -> Iterator[Notice]:
    authority, now = vault.authority(work), vault.clock()
    yield from notices.of_authority(authority, now)
    yield from backup_watch.notices(vault, work)
    yield from stations.notices(vault, work)
    for asked in _open(work):
        if asked.state is RequestState.REQUESTED:
            notice = notices.of_request(authority, asked.request, now)
            if notice is not None:
                yield notice


def _carry(vault: Vault, carrier: Carrier, todo: list[tuple[Notice, str]]) -> int:
    handed: list[Telling] = []
    reason = ""
    for notice, person in todo:
        try:
            carrier.send(notice, person)
        except CarrierError as error:
            reason = str(error)
            break
        handed.append((notice.key, person, carrier.name))
    if handed:
        _note_sent(vault, carrier, handed)
    if reason:
        _note_failure(vault, carrier, reason)
    return len(handed)


def _note_sent(vault: Vault, carrier: Carrier, handed: list[Telling]) -> None:
    listed = [{"key": key, "person": person} for key, person, _ in handed]
    with vault.database.work() as work:
        for telling in handed:
            work.notices.add(telling, vault.clock())
        work.commit(_event(EventType.NOTICE_SENT, Outcome.OK, carrier, {"notices": listed}))


def _note_failure(vault: Vault, carrier: Carrier, reason: str) -> None:
    with vault.database.work() as work:
        newest = work.audit.newest_of(_stream(carrier.name))
        if newest is None or newest.header["ty"] != EventType.NOTICE_FAILED:
            event = _event(EventType.NOTICE_FAILED, Outcome.FAIL, carrier, {"reason": reason})
            work.commit(event)


def _stream(channel: str) -> str:
    return f"notices:{channel}"


def _event(kind: EventType, outcome: Outcome, carrier: Carrier, more: Document) -> AuditEvent:
    return AuditEvent(
        type=kind,
        outcome=outcome,
        operation=uuid4(),
        stream=_stream(carrier.name),
        actor=ACTOR,
        payload={"channel": carrier.name, **more},
    )


def _expired(asked: ApprovalRequest) -> AuditEvent:
    request = asked.request
    return AuditEvent(
        type=EventType.APPROVAL_EXPIRED,
        outcome=Outcome.OK,
        operation=request.id,
        stream=request_stream(request.id),
        actor=ACTOR,
        scope=request.scope,
        payload={"expires_at": text_of(request.expires_at)},
    )
