"""A year of the log taken to an archive, and evidence from an archive where no database is."""

from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from uuid import uuid4

from keyvault import VERSION
from keyvault.archive import WIDTH, writer
from keyvault.archive.reader import Archive
from keyvault.domain.approvals import CLOCK_LEEWAY
from keyvault.domain.audit import AuditEvent, EventType, Leaf, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError, NotReadyError
from keyvault.domain.notes import Checkpoint, Note
from keyvault.domain.times import milliseconds, text_of
from keyvault.domain.tree import range_proof
from keyvault.evidence.bundle import BundleContents, Sign, write_bundle
from keyvault.operations import evidence, timing
from keyvault.operations.audit import EPOCH, EventQuery
from keyvault.operations.vault import Vault
from keyvault.store.audit import LoggedEvent
from keyvault.store.unit_of_work import Reading

ACTOR = "service:archive"
MARGIN_MS = 1_000 + milliseconds(EPOCH + CLOCK_LEEWAY)  # what verifiers demand around dates


def write(vault: Vault, year: int, folder: Path) -> Document:
    """Write the archive of a year, up to the newest checkpoint, and tell the log of it.

    The tree goes on from year to year, so an archive has all of its hashes, and of its leaves
    those of the year. Raises `NotReadyError` before the first checkpoint.
    """
    with vault.database.reading() as work:
        contents = _contents(vault, work, year)
        digest = writer.write(folder, contents)
    size = Checkpoint.parse(Note.parse(contents.checkpoint).text).size
    told: Document = {
        "year": year,
        "start": contents.start,
        "end": contents.end,
        "size": size,
        "sha256": digest,
    }
    with vault.database.work() as work:
        work.commit(AuditEvent(EventType.AUDIT_ARCHIVED, Outcome.OK, uuid4(), "log", ACTOR, told))
    return told


def _contents(vault: Vault, work: Reading, year: int) -> writer.Year:
    newest = work.audit.checkpoint()
    if newest is None:
        raise NotReadyError("there is no checkpoint yet", next_step="see that the sealer runs")
    size = newest.size
    first, after = (datetime(y, 1, 1, tzinfo=UTC) for y in (year, year + 1))
    span = work.audit.span(milliseconds(first) - MARGIN_MS, milliseconds(after) + MARGIN_MS)
    start, end = min(span[0], size) // WIDTH * WIDTH, min(-(-span[1] // WIDTH) * WIDTH, size)
    if start >= end:
        raise InvalidInputError(f"the log has no events of {year}")
    return writer.Year(
        year=year,
        start=start,
        end=end,
        checkpoint=work.audit.cosigned(size).encode(),
        read=work.audit.hashes(),
        leaves=map(_leaf, work.audit.events(start, end)),
        authority=work.authority.records(),
        software=f"keyvault {VERSION}",
        created_at=text_of(vault.clock()),
        erasures=evidence.erasures(work, size),
        policy=vault.cosigned.policy.text if vault.cosigned.policy else b"",
        tsa=timing.evidence(vault, work, start, end, size),
    )


def _leaf(event: LoggedEvent) -> Leaf:
    return Leaf(event.leaf, event.leaf_hash, event.salt or b"", event.payload or b"")


def export(archive: Archive, query: EventQuery, requester: str, out: IO[bytes], sign: Sign) -> None:
    """Write an evidence bundle from an archive alone; `sign` asks the gate for its signature."""
    since, until = query.since or EPOCH, query.until
    start, end, dates = *archive.range, None
    if query.since is not None or until is not None:
        until = until or datetime.now(UTC)
        margins = milliseconds(since) - MARGIN_MS, milliseconds(until) + MARGIN_MS
        start, end = archive.span(*margins)
        dates = text_of(since), text_of(until)
    contents = BundleContents(
        origin=archive.checkpoint.origin,
        checkpoint=archive.note,
        range=range_proof(archive.hashes(), start, end, archive.checkpoint.size),
        leaves=archive.leaves(start, end),
        authority=archive.authority(),
        requester=requester,
        created_at=text_of(datetime.now(UTC).replace(microsecond=0)),
        software=f"keyvault {VERSION}",
        filter=query.filter(),
        dates=dates,
        erasures=archive.erasures(),
        policy=archive.policy,
        tsa=archive.tsa(),
    )
    write_bundle(contents, out, sign)
