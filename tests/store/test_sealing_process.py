"""The sealer as a process, through the real log gate and its keys in the HSM."""

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from keyvault import signatures
from keyvault.domain.notes import open_checkpoint
from keyvault.sealer import log_keys
from keyvault.store import Database
from tests.stack import Stack
from tests.store.events import check_log, used
from tests.store.tampering import tamper

PATIENCE = 20.0  # seconds


def test_the_real_gate_seals_until_somebody_changes_the_log(database_url: str) -> None:
    with (
        Stack.make(database_url) as stack,
        closing(Database(stack.settings.database)) as database,
    ):
        stack.start("log-gate", "sealer")
        _append(database, 300)
        _until(lambda: _sealed(database) == 301)  # genesis is the first
        with database.reading() as reading:
            newest, head = reading.audit.checkpoint(), reading.audit.head()
        assert newest is not None
        keys = log_keys(database, stack.settings.genesis)
        note = open_checkpoint(newest.note.encode(), keys, signatures.verify_note)
        assert (note.origin, note.root) == (stack.settings.origin, head.root)
        check_log(database)
        assert stack.stop("sealer") == os.EX_OK
        _append(database, 5)
        tamper(stack.settings.database, "UPDATE event SET actor = 'x' WHERE idx = 303")
        stack.start("sealer")
        pid = stack.pid("sealer")
        _until(lambda: _has_ended(pid))
        assert stack.stop("sealer") == os.EX_DATAERR
        assert "SEALING HAS STOPPED: event 303 is filed under what it is not" in stack.log("sealer")
        assert _sealed(database) == 301


def _has_ended(pid: int) -> bool:
    """Whether a child has ended and waits to be asked how."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _append(database: Database, count: int) -> None:
    with database.work() as work:
        work.commit(*[used() for _ in range(count)])


def _sealed(database: Database) -> int:
    with database.reading() as reading:
        return reading.audit.latest_checkpoint_size()


def _until(happens: Callable[[], bool]) -> None:
    patience = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < patience
        time.sleep(0.05)
