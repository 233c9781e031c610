"""The journal of a ceremony on disk: a line for each entry, on the platter before anybody goes on.

Whoever writes it holds a lock on it. A last line that was cut off was never acknowledged and goes.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from keyvault.domain.canonical import CanonicalError, canonical, parse
from keyvault.domain.errors import CeremonyError
from keyvault.domain.journals import TRANSCRIPT_LIMIT, Entry, Journal

JOURNAL = "journal.ndjson"


class Book:
    """An open journal. Raises `CeremonyError` if another terminal holds it or it was changed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.journal = self._read()
        except OSError as error:
            os.close(self._descriptor)
            raise CeremonyError(
                f"another terminal holds the ceremony in {folder}", next_step="go on there"
            ) from error
        except CeremonyError:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def add(self, entry: Entry) -> None:
        """Write an entry and flush it to the disk. Raises `OSError`; no part of it stays then."""
        size = os.fstat(self._descriptor).st_size
        line = canonical(entry.document()) + b"\n"
        try:
            if os.write(self._descriptor, line) != len(line):
                raise OSError(f"{self.path} could not be written")  # noqa: TRY301  (as write does)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise
        self.journal = self.journal.with_(entry)

    def _read(self) -> Journal:
        data = self.path.read_bytes()
        if len(data) > 2 * TRANSCRIPT_LIMIT:
            raise CeremonyError(f"{self.path} is too large for a journal")
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._descriptor, whole)
        return read_journal(data[:whole])


def read_journal(data: bytes) -> Journal:
    """Read the lines of a journal. Raises `CeremonyError`."""
    try:
        documents = [parse(line, max_size=TRANSCRIPT_LIMIT) for line in data.splitlines()]
    except CanonicalError as error:
        raise CeremonyError("the journal holds a line that is no entry") from error
    return Journal(tuple(map(Entry.read, documents)))
