"""The whole log read again: events against the tree, tiles against both, checkpoints against all.

What the sealer does with what is new, this does with everything, in case somebody changed what
was sealed long ago; and it holds the register of keys against what the log tells of it. The result
is an event.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from keyvault import signatures
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import NotFoundError
from keyvault.domain.notes import Checkpoint, NoteError, VerifierKey, open_checkpoint
from keyvault.operations.vault import Vault
from keyvault.shadow import BrokenLogError, Shadow, check_event
from keyvault.store.audit import StoredCheckpoint
from keyvault.store.unit_of_work import Reading

STREAM = "audit-check"
ACTOR = "service:clerk"
PAGE = 1_000


@dataclass(slots=True)
class Found:
    """What was read, and what is wrong, if anything is; the first thing alone."""

    size: int = 0
    root: str = ""
    erased: int = 0
    tiles: int = 0
    checkpoints: int = 0
    keys: int = 0  # of the register, held against what the log told when they entered it
    wrong: str = ""


def fsck(vault: Vault, actor: str = ACTOR) -> Found:
    """Check everything and write down the result, good or bad. It never stops the service."""
    found = Found()
    try:
        with vault.database.reading() as work:
            lines = vault.authority(work).services.log_keys
            read_again(
                work, [VerifierKey.parse(line) for line in lines], vault.settings.origin, found
            )
    except BrokenLogError as error:
        found.wrong = str(error)
    outcome = Outcome.FAIL if found.wrong else Outcome.OK
    with vault.database.work() as work:
        event = AuditEvent(
            EventType.AUDIT_CHECKED, outcome, uuid4(), STREAM, actor, asdict(found), ""
        )
        work.commit(event)
    return found


def when_due(vault: Vault) -> Found | None:
    """Check if the last time lies longer back than the settings allow."""
    with vault.database.reading() as work:
        newest = work.audit.newest_of(STREAM)
    days = timedelta(days=vault.settings.audit.check_every)
    return fsck(vault) if newest is None or vault.clock() - newest.time > days else None


def remark(vault: Vault) -> str:
    """What health says: a check that found something. Nothing is mended by itself."""
    with vault.database.reading() as work:
        newest = work.audit.newest_of(STREAM)
    if newest is None or newest.header["out"] != Outcome.FAIL:
        return ""
    return f"the log was found broken at {newest.time:%Y-%m-%d %H:%M} UTC; see runbook log-broken"


def read_again(work: Reading, keys: list[VerifierKey], origin: str, found: Found) -> None:
    """Read the whole log; what was read is in `found`. Raises `BrokenLogError`."""
    size, root = work.audit.head_root()
    shadow = Shadow(work.audit.hashes(), 0)
    places = _checkpoints(work)
    following = next(places, None)
    for event in work.audit.events(0, size):
        check_event(event, shadow.size)
        if event.found_by["ty"] == EventType.KEY_REGISTERED and event.payload:
            _hold_key(work, json.loads(event.payload), found)
        found.erased += event.payload is None
        shadow.add(event.leaf_hash)
        if following is not None and following.size == shadow.size:
            _hold(following, Checkpoint(origin, shadow.size, shadow.root), keys)
            found.checkpoints += 1
            following = next(places, None)
        _compare(work, shadow, found)
    found.size, found.root = shadow.size, shadow.root.hex()
    if (shadow.size, shadow.root) != (size, root):
        raise BrokenLogError(f"{shadow.size} events do not lead to the head of {size}")
    if following is not None:
        raise BrokenLogError(f"a checkpoint covers {following.size} events, and there are {size}")


def _hold_key(work: Reading, told: Document, found: Found) -> None:
    """Hold a key's row against its first event; keys older than this check told no terms."""
    try:
        terms = work.keys.get(UUID(told["key"])).terms()
    except NotFoundError as error:
        raise BrokenLogError(f"key {told['key']} is gone from the register") from error
    before = told.get("terms", terms)
    changed = sorted(name for name, value in terms.items() if before.get(name) != value)
    if changed:
        what = ", ".join(changed)
        raise BrokenLogError(f"the register tells another {what} of key {told['key']} than the log")
    found.keys += 1


def _checkpoints(work: Reading) -> Iterator[StoredCheckpoint]:
    after = 0
    while page := work.audit.checkpoints(after, PAGE):
        yield from page
        after = page[-1].size


def _hold(stored: StoredCheckpoint, wanted: Checkpoint, keys: list[VerifierKey]) -> None:
    try:
        signed = open_checkpoint(stored.note.encode(), keys, signatures.verify_note)
    except NoteError as error:
        raise BrokenLogError(f"the checkpoint of {stored.size} does not hold: {error}") from error
    if signed != wanted:
        raise BrokenLogError(f"the checkpoint of {stored.size} was signed for another log")


def _compare(work: Reading, shadow: Shadow, found: Found) -> None:
    """Hold the tiles that were just filled against the stored ones; unsealed ones are not yet."""
    for level, number, hashes in shadow.full:
        stored = work.audit.tile(level, number)
        if stored is not None and stored != hashes:
            raise BrokenLogError(f"tile {number} of level {level} was changed")
        found.tiles += stored is not None
    shadow.full.clear()
