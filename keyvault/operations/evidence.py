"""Evidence that auditors take away: bundles, their views, and who they were handed on to."""

import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import IO

from keyvault import VERSION, signatures
from keyvault.domain.access import Action, Principal
from keyvault.domain.approvals import CLOCK_LEEWAY
from keyvault.domain.audit import EventType, Leaf, Outcome
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.errors import (
    ApprovalInvalidError,
    InvalidInputError,
    NotFoundError,
    NotReadyError,
)
from keyvault.domain.evidence import HANDED, HANDOVER, View
from keyvault.domain.heads import STREAM
from keyvault.domain.notes import Checkpoint, Note
from keyvault.domain.people import Person
from keyvault.domain.times import milliseconds, text_of, time_of
from keyvault.domain.tree import inclusion_proof, range_proof
from keyvault.evidence.bundle import BundleContents, Continuation, write_bundle
from keyvault.evidence.choosing import MAX_SAMPLE, Sample, draw
from keyvault.evidence.lone import Lone
from keyvault.operations import timing, witnesses
from keyvault.operations.audit import EPOCH, EventQuery, check_size, event_of
from keyvault.operations.vault import Vault, permit
from keyvault.operations.viewing import viewed
from keyvault.store.audit import LoggedEvent
from keyvault.store.unit_of_work import Reading

SEAL_TRIES, SEAL_PAUSE = 100, 0.1  # ten seconds in all


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a bundle is to hold.

    `previous` is the size of a checkpoint that the reader has: the bundle then shows that the
    log continues it, and with `changes` holds what came since. Of what matches, `sample` events
    are disclosed, drawn by `seed`.
    """

    query: EventQuery = field(default_factory=EventQuery)
    previous: int | None = None
    changes: bool = False
    sample: int | None = None
    seed: str = ""
    views: tuple[View, ...] = ()

    def __post_init__(self) -> None:
        if self.changes and (self.previous is None or self.query.since or self.query.until):
            raise InvalidInputError("changes are those since a previous size, and have no dates")
        if self.sample is not None and not (0 < self.sample <= MAX_SAMPLE and self.seed):
            raise InvalidInputError(f"a sample is of 1 to {MAX_SAMPLE} events and has a seed")

    def document(self) -> Document:
        sample: Document = {"sample": self.sample, "seed": self.seed} if self.sample else {}
        views = {"views": [str(view) for view in self.views]} if self.views else {}
        changes = {"since_size": self.previous} if self.changes else {}
        return {**self.query.document(), **sample, **views, **changes}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an export was: its manifest's hash is in the log, and where."""

    manifest_sha256: str
    start: int
    end: int
    size: int


def export(vault: Vault, who: Principal, wanted: Wanted, out: IO[bytes]) -> Receipt:
    """Write an evidence bundle of the log up to now to `out`, which has to seek.

    The export is an event before its bytes leave. Raises `NotReadyError` if no checkpoint covers
    the log yet.
    """
    permitted = permit(vault, who, Action.AUDIT_EXPORT)
    note = covering(vault)
    with ExitStack() as snapshot:
        work = snapshot.enter_context(vault.database.reading())

        def sign(manifest: bytes) -> bytes:  # all is read by now: nothing waits for the device
            snapshot.close()
            return vault.gate.sign_manifest(manifest)

        contents = _contents(vault, work, who.actor, wanted, note)
        if wanted.views:
            contents = viewed(vault, wanted.views, contents, snapshot.close)
        manifest = write_bundle(contents, out, sign)
    place = contents.range
    receipt = Receipt(sha256(manifest).hexdigest(), place.start, place.end, place.size)
    with vault.database.work() as work:
        payload = {"query": wanted.document(), **asdict(receipt)}
        work.commit(event_of(EventType.AUDIT_EXPORTED, who, permitted.role, payload))
    return receipt


def covering(vault: Vault) -> str:
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


def _contents(vault: Vault, work: Reading, by: str, wanted: Wanted, note: str) -> BundleContents:
    checkpoint, query = Checkpoint.parse(Note.parse(note.encode()).text), wanted.query
    size, known = checkpoint.size, vault.cosigned.policy
    start, end, dates = span(work, query, size)
    start = min(wanted.previous or 0, size) if wanted.changes else start
    hashes, now = work.audit.hashes(), text_of(vault.clock())
    return BundleContents(
        origin=vault.settings.origin,
        checkpoint=note.encode(),
        range=range_proof(hashes, start, end, size),
        leaves=(leaf_of(event) for event in work.audit.events(start, end)),
        authority=work.authority.records(),
        requester=by,
        created_at=now,
        software=f"keyvault {VERSION}",
        filter=query.filter(),
        sample=_sample(work, wanted, start, end, checkpoint.root),
        erasures=erasures(work, size),
        heads=_heads(work, size),
        dates=dates,
        previous=_continuation(work, wanted.previous, size),
        policy=known.text if known else b"",
        tsa=timing.evidence(vault, work, start, end, size),
        custody=({"at": now, "by": by, "what": "asked for it and took it away"},),
    )


def _sample(work: Reading, wanted: Wanted, start: int, end: int, root: bytes) -> Sample | None:
    if wanted.sample is None:
        return None
    leaves = (leaf_of(event) for event in work.audit.events(start, end))
    return draw(leaves, start, wanted.query.filter(), wanted.seed, wanted.sample, root)


def erasures(work: Reading, size: int) -> tuple[bytes, ...]:
    """Why payloads are missing: every event of an erasure, purge or hold, with its proof.

    None where nothing is missing, whatever is on hold.
    """
    gone = [*_lone(work, EventType.PAYLOAD_ERASED, size)]
    gone += _lone(work, EventType.PAYLOAD_PURGED, size)
    if not gone:
        return ()
    gone += _lone(work, EventType.AUDIT_HOLD_SET, size)
    gone += _lone(work, EventType.AUDIT_HOLD_LIFTED, size)
    return tuple(lone.line() for lone in sorted(gone, key=lambda lone: lone.index))


def _heads(work: Reading, size: int) -> tuple[bytes, ...]:
    """The newest event that sealed the heads of streams, if this log has one by now."""
    newest = work.audit.newest_of(STREAM)
    if newest is None or newest.index >= size:
        return ()
    path = inclusion_proof(work.audit.hashes(), newest.index, size)
    return (Lone(newest.index, leaf_of(newest), path).line(),)


def _lone(work: Reading, kind: EventType, size: int) -> Iterator[Lone]:
    after = None
    while True:
        page, after = work.audit.page(type=kind, outcome=Outcome.OK, after=after, limit=500)
        for event in page:
            if event.index < size:
                path = inclusion_proof(work.audit.hashes(), event.index, size)
                yield Lone(event.index, leaf_of(event), path)
        if after is None:
            return


def span(work: Reading, query: EventQuery, size: int) -> tuple[int, int, tuple[str, str] | None]:
    if query.since is None and query.until is None:
        return 0, size, None
    since, until = query.since or EPOCH, query.until or datetime.now(UTC)
    margin = 1000 + milliseconds(EPOCH + CLOCK_LEEWAY)
    start, end = work.audit.span(milliseconds(since) - margin, milliseconds(until) + margin)
    return min(start, size), min(end, size), (text_of(since), text_of(until))


def leaf_of(event: LoggedEvent) -> Leaf:
    """An event as bundles take it: where its payload was erased, without."""
    return Leaf(event.leaf, event.leaf_hash, event.salt or b"", event.payload or b"")


def _continuation(work: Reading, previous: int | None, size: int) -> Continuation | None:
    if previous is None:
        return None
    found = work.audit.checkpoint(previous)
    if found is None or found.size != previous:
        raise NotFoundError(f"there is no checkpoint of size {previous}")
    check_size(work, previous, size)
    hashes = work.audit.hashes()
    return Continuation(found.note.encode(), range_proof(hashes, previous, previous, size))


def hand_over(vault: Vault, who: Principal, entry: Document, signature: bytes) -> Document:
    """Write down that somebody gave a bundle to somebody else, as they signed it.

    Returns the line for the file of hand-overs. Raises `ApprovalInvalidError` unless a key of
    the caller that decides signed exactly this, now.
    """
    permitted = permit(vault, who, Action.AUDIT_EXPORT)
    person = who.subject
    if set(entry) != HANDED or not all(isinstance(entry[name], str) for name in HANDED - {"seq"}):
        raise InvalidInputError(f"a hand-over takes exactly: {', '.join(sorted(HANDED))}")
    if not isinstance(person, Person) or entry["from"] != person.id or entry["ctx"] != HANDOVER:
        raise InvalidInputError("a hand-over is signed by the one who hands over")
    if abs(vault.clock() - time_of(entry["at"])) > CLOCK_LEEWAY:
        raise ApprovalInvalidError("the signature is not of now", next_step="set your clock")
    key = person.decides_with(entry["credential"])
    if key is None or not signatures.verify(key.spki, signature, canonical(entry)):
        raise ApprovalInvalidError("no key of yours that decides made this signature")
    line: Document = {**entry, "signature": b64encode(signature).decode()}
    with vault.database.work() as work:
        work.commit(event_of(EventType.AUDIT_HANDED_OVER, who, permitted.role, {"entry": line}))
    return line
