"""The sealer: has the HSM sign the log's head, after checking it against the stored bytes.

It trusts neither the hashes that were written nor the code that wrote them: it reads every new
leaf, hashes it with arithmetic of its own on top of the last signed checkpoint, and seals only
what agrees with the head. One flipped bit that were signed would be wrong for ever.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hsm.errors import HsmError
from keyvault import signatures
from keyvault.domain.chain import found
from keyvault.domain.errors import (
    AuthorityError,
    ConflictError,
    RolledBackError,
    VaultError,
)
from keyvault.domain.notes import Checkpoint, NoteError, VerifierKey, open_checkpoint
from keyvault.domain.tree import tree_at
from keyvault.office import Hopeless, Stop, hold
from keyvault.settings import Settings
from keyvault.shadow import BrokenLogError, Shadow, check_event
from keyvault.store import Database, Reading, StoredCheckpoint
from keyvault.wire import Client
from keyvault.witness import anchors

Seal = Callable[[int, bytes], str]
"""(size, root) → signed note."""
log = logging.getLogger("sealer")


class Sealer:
    """Seals one log. `keys` are the log's own, as the genesis ceremony signed them."""

    def __init__(
        self, database: Database, seal: Seal, keys: Sequence[VerifierKey], origin: str
    ) -> None:
        self._database = database
        self._seal = seal
        self._keys = keys
        self._origin = origin
        self._shadow: Shadow | None = None
        self.unanchored = ""  # the note sealed last, until it was brought elsewhere

    def seal(self) -> Checkpoint | None:
        """Check what is new and seal it; None if nothing is.

        Raises `BrokenLogError`, naming the first bad event, and seals nothing then.
        """
        shadow, self._shadow = self._shadow, None  # kept only if all goes well
        with self._database.reading() as reading:
            newest = reading.audit.checkpoint()
            shadow = self._resumed(shadow, reading, newest)
            size, root = reading.audit.head_root()
            if size < shadow.size:
                raise BrokenLogError(f"the log has {size} events and {shadow.size} were sealed")
            for event in reading.audit.events(shadow.size, size):
                check_event(event, shadow.size)
                shadow.add(event.leaf_hash)
        if (shadow.size, shadow.root) != (size, root):
            raise BrokenLogError(f"{shadow.size} events do not lead to the head of {size}")
        sealed = None if newest and newest.size == size else self._sealed(shadow)
        self._shadow = shadow
        return sealed

    def _resumed(
        self, shadow: Shadow | None, reading: Reading, newest: StoredCheckpoint | None
    ) -> Shadow:
        """Go on from the newest checkpoint, after checking its signatures and its root."""
        size = newest.size if newest else 0
        if shadow is not None and shadow.size == size:
            return shadow
        if shadow is not None and (
            size < shadow.size or tree_at(reading.audit.hashes(), shadow.size).root != shadow.root
        ):
            raise BrokenLogError(f"the log is not the one whose {shadow.size} events were sealed")
        shadow = Shadow(reading.audit.hashes(), size)
        if newest is not None and self._opened(newest.note) != self._checkpoint(shadow):
            raise BrokenLogError(f"the stored hashes do not lead to the checkpoint of {size}")
        return shadow

    def _sealed(self, shadow: Shadow) -> Checkpoint | None:
        if not shadow.size:
            return None
        checkpoint = self._checkpoint(shadow)
        note = self._seal(checkpoint.size, checkpoint.root)
        if self._opened(note) != checkpoint:
            raise BrokenLogError("the log gate signed something else")
        with self._database.sealing() as seals:
            for level, number, hashes in shadow.full:
                seals.add_tile(level, number, hashes)
            seals.add_checkpoint(checkpoint.size, note, datetime.now(UTC))
        self.unanchored = note
        shadow.full.clear()
        return checkpoint

    def _checkpoint(self, shadow: Shadow) -> Checkpoint:
        return Checkpoint(self._origin, shadow.size, shadow.root)

    def _opened(self, note: str) -> Checkpoint:
        try:
            return open_checkpoint(note.encode(), self._keys, signatures.verify_note)
        except NoteError as error:
            raise BrokenLogError(f"a checkpoint does not hold: {error}") from error


def log_keys(database: Database, genesis: str) -> list[VerifierKey]:
    """Return the keys that sign this log, from the genesis record with this hash."""
    with database.reading() as reading:
        records = reading.authority.records()[:1]
    if not records or records[0].hash != genesis:
        raise AuthorityError("there is no genesis record that this service trusts")
    lines = found(records[0], signatures.verify).services.log_keys
    return [VerifierKey.parse(line) for line in lines]


def run(settings: Settings, stop: Stop) -> None:
    """Seal while this process is the elected one, until `stop`. Raises `BrokenLogError`."""
    database, gate = Database(settings.database, settings.node), Client(settings.log.socket)
    keys = log_keys(database, settings.genesis)
    sealer = Sealer(
        database, lambda size, root: str(gate.call("seal", size, root)), keys, settings.origin
    )
    check_anchors(database, settings, keys)
    trouble = ""
    try:
        with database.election("sealer") as holds:
            while not stop.wait(settings.seal_interval):
                before, trouble = trouble, _turn(sealer, holds, settings.anchor)
                if trouble != before:
                    log.warning("%s", trouble or "sealing again")
    finally:
        gate.close()
        database.close()


def check_anchors(database: Database, settings: Settings, keys: Sequence[VerifierKey]) -> None:
    """Raise `RolledBackError` before an old copy of the log is sealed over what was seen."""
    with database.reading() as reading:
        newest = reading.audit.checkpoint()
    seen = anchors.gathered(settings, keys, newest.note if newest else "")
    with database.reading() as reading:
        anchors.demand(seen, reading.audit.head().size, reading.audit.hashes())


def _turn(sealer: Sealer, holds: Callable[[], bool], anchor: Path | None) -> str:
    """Seal once if elected; return what stood in the way that may pass by itself."""
    try:
        if holds():
            sealer.seal()
            if anchor is not None and sealer.unanchored:
                anchors.write(anchor, sealer.unanchored)
                sealer.unanchored = ""
    except (BrokenLogError, ConflictError, RolledBackError):
        raise
    except (HsmError, VaultError, OSError) as error:
        return str(error)
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; a broken log ends it with EX_DATAERR."""
    return hold("sealer", __doc__, run, arguments, _STOPPED)


_STOPPED = Hopeless(
    (BrokenLogError, ConflictError, RolledBackError), os.EX_DATAERR, "SEALING HAS STOPPED: "
)


if __name__ == "__main__":
    sys.exit(main())
