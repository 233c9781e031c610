"""What events said, when its time is over: what may go, what is held, and what was purged."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from uuid import UUID, uuid4

from keyvault.domain.access import Action, Principal
from keyvault.domain.approvals import Approval, Request
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.commands import PurgePayloads
from keyvault.domain.custody import HoldKind
from keyvault.domain.errors import NotFoundError
from keyvault.domain.keys import KeyState
from keyvault.domain.retention import HOLDS, OF_LIVES, PORTION, SPAN, LogHold, types_of
from keyvault.domain.times import milliseconds, text_of, time_of
from keyvault.domain.tokens import TokenState
from keyvault.operations.vault import Once, Vault, key_stream, permit, recall, remember
from keyvault.store.audit import LoggedEvent
from keyvault.store.unit_of_work import Reading

CERTIFICATE = "keyvault-purge-v2"
_PAGE = 500
_ENDED = {TokenState.DESTROYED}
_LAST_OF_KEYS = {EventType.BACKUP_KEY_DESTROYED, EventType.KEK_RETIRED}


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody wants held, see `LogHold`."""

    about: str
    kind: HoldKind
    reason: str


def hold(vault: Vault, who: Principal, said: Said, once: Once | None = None) -> LogHold:
    """Keep events from being purged, until several people lift that. One person is enough."""
    permitted = permit(vault, who, Action.KEY_HOLD)
    made = LogHold(uuid4(), said.about, said.kind, said.reason, vault.clock(), who.actor)
    with vault.database.work() as work:
        if earlier := recall(work, who, once):
            return replace(made, id=UUID(earlier["hold"]), set_at=time_of(earlier["at"]))
        remember(work, who, once, {"hold": str(made.id), "at": text_of(made.set_at)})
        event = AuditEvent(
            type=EventType.AUDIT_HOLD_SET,
            outcome=Outcome.OK,
            operation=made.id,
            stream=HOLDS,
            actor=who.actor,
            role=permitted.role,
            payload=made.document(),
        )
        work.commit(event)
    return made


def holds(vault: Vault, who: Principal) -> list[LogHold]:
    """List the holds that stand, oldest first."""
    permit(vault, who, Action.REQUEST_READ)
    with vault.database.reading() as work:
        return list(standing(work).values())


def standing(work: Reading) -> dict[UUID, LogHold]:
    """The holds that stand, by the log itself: there is no other list of them."""
    found, after = dict[UUID, LogHold](), None
    while True:
        page, after = work.audit.page(stream=HOLDS, outcome=Outcome.OK, after=after, limit=_PAGE)
        for event in page:
            said = json.loads(event.payload or b"{}")
            if event.header["ty"] == EventType.AUDIT_HOLD_LIFTED:
                found.pop(UUID(said["hold"]), None)
            else:
                made = _hold_of(event, said)
                found[made.id] = made
        if after is None:
            return found


def _hold_of(event: LoggedEvent, said: Document) -> LogHold:
    kind = HoldKind(said["kind"])
    who = str(event.header["ac"])
    return LogHold(UUID(said["hold"]), said["about"], kind, said["reason"], event.time, who)


def due(vault: Vault, work: Reading, command: PurgePayloads, start: int) -> tuple[list[int], bool]:
    """Find the next portion of what may go, from `start` on, ascending, and whether there is more.

    Only what is sealed goes: the sealer has held it against its leaf by then.
    """
    before, held = milliseconds(time_of(command.before)), list(standing(work).values())
    sealed = work.audit.latest_checkpoint_size()
    lives = _Lives(vault, work, time_of(command.before))
    kept = lives.goes_on if command.retention in OF_LIVES else lives.held
    found = list[int]()
    types = types_of(command.retention)
    for index, stream, actor in work.payloads.older(types, before, sealed, start):
        if not any(hold.covers(stream, actor) for hold in held) and not kept(stream):
            if found and (len(found) == PORTION or index - found[0] >= SPAN):
                return found, True
            found.append(index)
    return found, False


class _Lives:
    """Whether what a stream is about still lives, or ended too late to be forgotten."""

    def __init__(self, vault: Vault, work: Reading, before: datetime) -> None:
        self._work, self._before = work, before
        self._authority = vault.authority(work)
        self._known: dict[str, bool] = {}
        self._held: dict[str, bool] = {}
        self._kinds: dict[str, Callable[[str], bool]] = {
            "key": self._key,
            "request": self._request,
            "token": self._token,
            "person": self._person,
        }

    def goes_on(self, stream: str) -> bool:
        kind, _, name = stream.partition(":")
        if kind not in self._kinds:
            return False
        if stream not in self._known:
            newest = self._work.audit.newest_of(stream)
            late = newest is None or newest.time >= self._before
            self._known[stream] = late or self.held(stream) or self._kinds[kind](name)
        return self._known[stream]

    def held(self, stream: str) -> bool:
        """Whether somebody holds the key that a stream is of: then its events stay as well."""
        kind, _, name = stream.partition(":")
        if kind != "key" or not _is_id(name):
            return False
        if stream not in self._held:
            holds = self._work.custody.holds(UUID(name))
            self._held[stream] = any(one.lifted_at is None for one in holds)
        return self._held[stream]

    def _key(self, name: str) -> bool:
        if not _is_id(name):  # an object that nobody knows, as reconciling found it
            return False
        key_id = UUID(name)
        found = self._work.keys.some([key_id]).get(key_id)
        if found is None:  # never made, or one of the service's own
            newest = self._work.audit.newest_of(key_stream(key_id))
            last = newest.header if newest else {"ty": "", "out": Outcome.FAIL}
            return last["out"] != Outcome.FAIL and last["ty"] not in _LAST_OF_KEYS
        key = found[0]
        gone = key.state is KeyState.DESTROYED and key.destroyed_at is not None
        return not gone or (key.destroyed_at or self._before) >= self._before

    def _request(self, name: str) -> bool:
        """A request is as old as the key that it is about."""
        command = self._work.requests.get(UUID(name)).request.command
        about = getattr(command, "key", None) or UUID(name)
        return self.held(f"key:{about}") or self._key(str(about))

    def _token(self, name: str) -> bool:
        return self._work.tokens.get(UUID(name)).state not in _ENDED

    def _person(self, name: str) -> bool:
        return name in self._authority.people


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def archived(work: Reading, events: list[int]) -> list[int]:
    """The years whose archives hold what is purged now: they are to be written again."""
    found, after = set[int](), None
    while True:
        kind = EventType.AUDIT_ARCHIVED
        page, after = work.audit.page(type=kind, outcome=Outcome.OK, after=after, limit=_PAGE)
        for event in page:
            said = json.loads(event.payload) if event.payload else {"start": 0, "end": 0}
            if said["start"] <= events[-1] and events[0] < said["end"]:
                found.add(int(said["year"]))
        if after is None:
            return sorted(found)


# Certificates ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PurgeCertificate:
    """What the evidence key signed of a purge: a statement in canonical JSON, and its signature."""

    statement: bytes
    signature: bytes


def certificate(vault: Vault, who: Principal, request: UUID) -> PurgeCertificate:
    """Have the evidence key sign what was purged by a request, and who decided it.

    Raises `NotFoundError` where nothing was purged by it.
    """
    permit(vault, who, Action.REQUEST_READ)
    with vault.database.reading() as work:
        events = purges_of(work, request)
        if not events:
            raise NotFoundError(f"nothing was purged by request {request}")
        body = canonical(_statement(vault, events))
    return PurgeCertificate(body, vault.gate.sign_manifest(body))


def purges_of(work: Reading, request: UUID) -> list[LoggedEvent]:
    """The events of what a request has purged, a portion each, oldest first."""
    found, after = list[LoggedEvent](), None
    while True:
        kind = EventType.PAYLOAD_PURGED
        page, after = work.audit.page(type=kind, outcome=Outcome.OK, after=after, limit=_PAGE)
        found += [event for event in page if event.header["op"] == str(request)]
        if after is None:
            return sorted(found, key=lambda event: event.index)


def _portion(event: LoggedEvent) -> Document:
    said = json.loads(event.payload or b"{}")
    return {
        **{name: said[name] for name in ("start", "end", "count")},
        "events_sha256": sha256(said["events"].encode()).hexdigest(),
        "event": event.index,
        "leaf_hash": event.leaf_hash.hex(),
        "purged_at": text_of(event.time),
    }


def _statement(vault: Vault, events: list[LoggedEvent]) -> Document:
    said = json.loads(events[-1].payload or b"{}")
    asked = Request.read(said["request"])
    signed = [Approval.read(one) for one in said["approvals"]]
    return {
        "ctx": CERTIFICATE,
        "origin": vault.settings.origin,
        **{name: said[name] for name in ("retention", "before", "days", "archives")},
        "count": said["total"],
        "portions": [_portion(event) for event in events],
        "request": str(asked.id),
        "request_sha256": asked.digest.hex(),
        "requester": asked.requester,
        "reason": said["request"]["parameters"]["reason"],
        "approvals": [{"approver": one.approver, "at": one.at} for one in signed],
        "issued_at": text_of(vault.clock()),
    }
