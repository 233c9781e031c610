"""What others have seen of the log: a file on another disk, and every witness.

An old copy of the database says nothing wrong about itself. Only what lies elsewhere shows
that it is old, so this is asked before anything is served or sealed.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hsm.errors import HsmError
from keyvault import durable, signatures
from keyvault.domain.errors import RolledBackError
from keyvault.domain.notes import Checkpoint, NoteError, VerifierKey, open_checkpoint
from keyvault.domain.policy import shown
from keyvault.domain.tree import ReadHash, tree_at
from keyvault.domain.witnessing import AddCheckpoint, WitnessError
from keyvault.settings import Settings
from keyvault.wire import Client
from keyvault.witness.client import (
    WitnessClient,
    WitnessUnreachableError,
    clients,
    read_policy,
)

PATIENCE = 10.0  # seconds for the gate to answer
LIMIT = 65_536  # bytes of an anchor file
log = logging.getLogger("keyvault")


@dataclass(frozen=True, slots=True)
class Anchor:
    """Who has seen how much of the log. `root` is None where only the size is known."""

    who: str
    size: int
    root: bytes | None


def gathered(settings: Settings, keys: Sequence[VerifierKey], newest: str) -> list[Anchor]:
    """Ask everybody that the settings name, at once; `newest` is our own note, or empty.

    A witness that does not answer is passed over with a warning. Raises `RolledBackError`
    where the anchor file is gone or is not of this log.
    """
    anchors = [*_of_file(settings, keys, newest), *_of_gate(settings)]
    if settings.witnesses is not None:
        asked = clients(read_policy(settings.witnesses, settings.origin), settings.witnesses)
        with ThreadPoolExecutor(max(1, len(asked))) as pool:
            seen = pool.map(lambda one: _of_witness(one, settings.origin, keys, newest), asked)
            anchors += [anchor for anchor in seen if anchor is not None]
    return anchors


def demand(anchors: Sequence[Anchor], size: int, read: ReadHash) -> None:
    """Demand that the log of `size` leaves is the one that was seen. Raises `RolledBackError`."""
    for anchor in anchors:
        if anchor.size > size:
            raise _rolled_back(f"{anchor.who} has seen {anchor.size} events, and {size} are here")
        if anchor.root is not None and tree_at(read, anchor.size).root != anchor.root:
            raise _rolled_back(f"{anchor.who} has seen another log of {anchor.size} events")


def contradicts(anchor: Anchor, size: int, read: ReadHash) -> bool:
    """Whether the log of `size` leaves is not the one that was seen."""
    try:
        demand([anchor], size, read)
    except RolledBackError:
        return True
    return False


def write(path: Path, note: str) -> None:
    """Put the newest note in place of the one before. When this returns it is on the disk."""
    durable.replace(path, note.encode())


def _of_file(settings: Settings, keys: Sequence[VerifierKey], newest: str) -> Iterator[Anchor]:
    path = settings.anchor
    if path is None:
        return
    try:
        with path.open("rb") as file:
            checkpoint = open_checkpoint(file.read(LIMIT + 1), keys, signatures.verify_note)
    except FileNotFoundError as error:
        if newest:  # the sealer writes it together with the first checkpoint
            raise _rolled_back(f"the anchor file {path} is gone") from error
        return
    except NoteError as error:
        raise _rolled_back(f"the anchor file {path} does not hold: {error}") from error
    if checkpoint.origin != settings.origin:
        raise _rolled_back(f"the anchor file {path} is of another log")
    yield Anchor(f"the anchor file {path}", checkpoint.size, checkpoint.root)


def _of_gate(settings: Settings) -> Iterator[Anchor]:
    """What the log's own gate has sealed, as its token and its file remember it."""
    gate = Client(settings.log.socket)
    try:
        seen = gate.call("anchor", timeout=PATIENCE)
    except (OSError, HsmError) as error:
        log.warning("the log gate could not be asked how much it has sealed: %s", error)
        return
    finally:
        gate.close()
    if seen["size"]:
        yield Anchor("the token of the log", seen["size"], bytes(seen["root"]))


def _of_witness(
    client: WitnessClient, origin: str, keys: Sequence[VerifierKey], newest: str
) -> Anchor | None:
    """What a witness shows, which the log must have signed, or else what a 409 of it tells."""
    who = f"witness {shown(client.name)}"
    try:
        note = client.newest(origin)
        if note is not None:
            seen: Checkpoint = open_checkpoint(note, keys, signatures.verify_note)
            return Anchor(who, seen.size, seen.root) if seen.origin == origin else None
        if newest:
            client.add_checkpoint(AddCheckpoint(0, (), newest.encode()))
    except WitnessError as error:
        return None if error.size is None else Anchor(who, error.size, None)
    except (WitnessUnreachableError, NoteError) as error:
        log.warning("%s could not be asked how much it has seen: %s", who, error)
    return None


def _rolled_back(reason: str) -> RolledBackError:
    return RolledBackError(
        f"the log is not what it was: {reason}",
        next_step="start nothing, keep every copy, see runbook rolled-back",
    )
