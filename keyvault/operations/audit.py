"""The log as auditors read it: events, checkpoints, proofs and the evidence they take away."""

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from hashlib import sha256
from typing import IO
from uuid import uuid4

from keyvault import VERSION
from keyvault.domain.access import Action, Principal
from keyvault.domain.approvals import CLOCK_LEEWAY
from keyvault.domain.audit import AuditEvent, EventType, Leaf, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError, NotFoundError, NotReadyError
from keyvault.domain.notes import Checkpoint, Note
from keyvault.domain.people import System
from keyvault.domain.scopes import Scope
from keyvault.domain.times import milliseconds, text_of
from keyvault.domain.tree import consistency_proof, inclusion_proof, range_proof
from keyvault.domain.witnessing import Level
from keyvault.evidence.bundle import BundleContents, Continuation, write_bundle
from keyvault.operations import witnesses
from keyvault.operations.vault import Vault, permit
from keyvault.operations.witnesses import Events, levels
from keyvault.store.audit import LoggedEvent
from keyvault.store.unit_of_work import Reading

EPOCH = datetime.fromtimestamp(0, UTC)
SEAL_TRIES, SEAL_PAUSE = 100, 0.1  # ten seconds in all


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

    def document(self) -> Document:
        names = (field.name for field in fields(self))
        chosen = {name: getattr(self, name) for name in names}
        return {name: str(value) for name, value in chosen.items() if value is not None}

    def filter(self) -> dict[str, list[str]]:
        """The same as values of header fields, but for the times, which choose a range."""
        chosen = self.document()
        return {header: [chosen[name]] for name, header in _HEADERS.items() if name in chosen}


_HEADERS = {"type": "ty", "outcome": "out", "stream": "st", "actor": "ac", "scope": "sc"}


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
            _event(EventType.AUDIT_QUERIED, who, permitted.role, {"query": query.document()})
        )
    return found, following, covered


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
        _check_size(work, index + 1, size)
        return inclusion_proof(work.audit.hashes(), index, size), levels(vault, work).of(index)


def consistency(vault: Vault, who: Principal, old: int, new: int) -> list[bytes]:
    """Return the hashes that show the tree of `new` to begin with the tree of `old`."""
    _permit(vault, who)
    with vault.database.reading() as work:
        _check_size(work, old, new)
        return consistency_proof(work.audit.hashes(), old, new)


def _permit(vault: Vault, who: Principal) -> None:
    """Every person may follow the log, and systems that may read keys."""
    is_system = isinstance(who.subject, System)
    permit(vault, who, Action.KEY_READ if is_system else Action.AUTHORITY_READ)


def _check_size(work: Reading, smaller: int, larger: int) -> None:
    size = work.audit.head().size
    if not 0 < smaller <= larger:
        raise InvalidInputError("give sizes in order, from 1 on")
    if larger > size:
        raise NotFoundError(f"the log has {size} events", next_step=f"ask for at most {size}")


def _event(kind: EventType, who: Principal, role: str, payload: Document) -> AuditEvent:
    return AuditEvent(kind, Outcome.OK, uuid4(), "log", who.actor, payload, role)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an export was: its manifest's hash is in the log, and where."""

    manifest_sha256: str
    start: int
    end: int
    size: int


def export(
    vault: Vault,
    who: Principal,
    query: EventQuery,
    out: IO[bytes],
    previous: int | None = None,
) -> Receipt:
    """Write an evidence bundle for the query and the log up to now to `out`, which has to seek.

    `previous` is the size of a checkpoint that the reader has: the bundle then shows that the
    log continues it. The export is an event before its bytes leave. Raises `NotReadyError` if no
    checkpoint covers the log yet.
    """
    permitted = permit(vault, who, Action.AUDIT_EXPORT)
    note = _covering(vault)
    with ExitStack() as snapshot:
        work = snapshot.enter_context(vault.database.reading())

        def sign(manifest: bytes) -> bytes:  # all is read by now: nothing waits for the device
            snapshot.close()
            return vault.gate.sign_manifest(manifest)

        contents = _contents(vault, work, who, query, note, previous)
        manifest = write_bundle(contents, out, sign)
    place = contents.range
    receipt = Receipt(sha256(manifest).hexdigest(), place.start, place.end, place.size)
    with vault.database.work() as work:
        payload = {"query": query.document(), **asdict(receipt)}
        work.commit(_event(EventType.AUDIT_EXPORTED, who, permitted.role, payload))
    return receipt


def _covering(vault: Vault) -> str:
    """Wait for a checkpoint over everything that is in the log by now, if need be unwitnessed."""
    with vault.database.reading() as work:
        wanted = work.audit.head().size
    sealed = _sealed(vault, wanted)
    size = witnesses.wait_for_size(vault, wanted) or sealed
    with vault.database.reading() as work:
        return work.audit.cosigned(size)


def _sealed(vault: Vault, wanted: int) -> int:
    for _ in range(SEAL_TRIES):
        with vault.database.reading() as work:
            found = work.audit.checkpoint(wanted)
        if found is not None:
            return found.size
        time.sleep(SEAL_PAUSE)
    raise NotReadyError(
        "no checkpoint covers the log yet", next_step="see whether the sealer and log gate run"
    )


def _contents(
    vault: Vault,
    work: Reading,
    who: Principal,
    query: EventQuery,
    note: str,
    previous: int | None,
) -> BundleContents:
    size = Checkpoint.parse(Note.parse(note.encode()).text).size
    start, end, dates = _span(work, query, size)
    hashes = work.audit.hashes()
    return BundleContents(
        origin=vault.settings.origin,
        checkpoint=note.encode(),
        range=range_proof(hashes, start, end, size),
        leaves=(_leaf(event) for event in work.audit.events(start, end)),
        authority=work.authority.records(),
        requester=who.actor,
        created_at=text_of(vault.clock()),
        software=f"keyvault {VERSION}",
        filter=query.filter(),
        dates=dates,
        previous=None if previous is None else _continuation(work, previous, size),
        policy=vault.cosigned.policy.text if vault.cosigned.policy else b"",
    )


def _span(work: Reading, query: EventQuery, size: int) -> tuple[int, int, tuple[str, str] | None]:
    if query.since is None and query.until is None:
        return 0, size, None
    since, until = query.since or EPOCH, query.until or datetime.now(UTC)
    margin = 1000 + milliseconds(EPOCH + CLOCK_LEEWAY)
    start, end = work.audit.span(milliseconds(since) - margin, milliseconds(until) + margin)
    return min(start, size), min(end, size), (text_of(since), text_of(until))


def _leaf(event: LoggedEvent) -> Leaf:
    if event.salt is None or event.payload is None:
        raise NotFoundError(f"the payload of event {event.index} was erased")
    return Leaf(event.leaf, event.leaf_hash, event.salt, event.payload)


def _continuation(work: Reading, previous: int, size: int) -> Continuation:
    found = work.audit.checkpoint(previous)
    if found is None or found.size != previous:
        raise NotFoundError(f"there is no checkpoint of size {previous}")
    _check_size(work, previous, size)
    hashes = work.audit.hashes()
    return Continuation(found.note.encode(), range_proof(hashes, previous, previous, size))
