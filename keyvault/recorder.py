"""The recorder: one process a host that writes the events of the hot path.

What arrives while one commit is under way is the next one: no timer, and one flush for all who
wait. Each record is checked against the key's version and the newest authority under the lock of
the log's head, so a key that was suspended meanwhile takes its signature with it, and so does a
caller who was revoked.
"""

import argparse
import gc
import logging
import os
import pwd
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keyvault.domain.errors import (
    AuthorityChangedError,
    ConflictError,
    InvalidInputError,
    KeyStateError,
    VaultError,
)
from keyvault.settings import Settings
from keyvault.store import Database, Memory, Receipt, Work
from keyvault.store.recorder_client import Record
from keyvault.wire import Server, batch, listen

ROUND = 512  # events in one transaction at most
Answer = list[Any] | Exception
_AGAIN = "try again"


class Recorder:
    """Writes records, a round at a time. Only one thread may use it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._memory = Memory()

    @batch
    def append(self, calls: list[list[Any]]) -> list[Answer]:
        """Answer each call with [index, leaf hash], or with the error that stopped it alone."""
        answers: list[Answer] = []
        for start in range(0, len(calls), ROUND):
            answers += self._round([_unpacked(call) for call in calls[start : start + ROUND]])
        return answers

    def status(self) -> dict[str, int]:
        with self._database.reading() as reading:
            return {"size": reading.audit.head().size, "pid": os.getpid()}

    def _round(self, records: list[Record | VaultError]) -> list[Answer]:
        readable = [record for record in records if isinstance(record, Record)]
        answers = iter(self._written(readable))
        return [next(answers) if isinstance(record, Record) else record for record in records]

    def _written(self, records: list[Record]) -> list[Answer]:
        try:
            return self._commit(records)
        except (InvalidInputError, ValueError) as error:  # one of them is not fit for the log
            half = len(records) // 2
            if not half:
                return [InvalidInputError(str(error))]
            return self._written(records[:half]) + self._written(records[half:])
        except ConflictError as error:
            return self._without_repeated(records, error)
        except VaultError as error:
            return [error] * len(records)

    def _without_repeated(self, records: list[Record], error: ConflictError) -> list[Answer]:
        """Leave out the calls that were made before, and write the others."""
        repeated: set[int] = set()
        seen: set[tuple[str, str]] = set()
        with self._database.reading() as reading:
            for at, record in enumerate(records):
                if record.once is not None:
                    call = record.once[:2]
                    if call in seen or reading.idempotency.find(*call) is not None:
                        repeated.add(at)
                    seen.add(call)
        if not repeated:
            return [error] * len(records)
        others = iter(self._written([r for at, r in enumerate(records) if at not in repeated]))
        return [error if at in repeated else next(others) for at in range(len(records))]

    def _commit(self, records: list[Record]) -> list[Answer]:
        """Write what is still true in one transaction; Idempotency-Keys first, the head last."""
        if not records:
            return []
        with self._database.work(self._memory) as work:
            work.idempotency.claim([record.once[:3] for record in records if record.once])
            answers: dict[int, Answer] = self._stale(work, records)
            good = [at for at in range(len(records)) if at not in answers]
            if good:
                kept = [records[at] for at in good]
                receipts = work.commit(
                    *[record.event for record in kept],
                    note=lambda receipts: _settle(work, kept, receipts),
                )
                written = [[receipt.index, receipt.leaf_hash] for receipt in receipts]
                answers.update(zip(good, written, strict=True))
        return [answers[at] for at in range(len(records))]

    def _stale(self, work: Work, records: list[Record]) -> dict[int, Answer]:
        """Find the records whose keys or authority have changed. From here on nothing can."""
        authority = work.log.lock().authority
        known = self._memory.versions
        unknown = {key for record in records for key in record.expect} - known.keys()
        if unknown:
            known.update(work.keys.versions(sorted(unknown)))
        stale: dict[int, Answer] = {}
        for at, record in enumerate(records):
            if record.authority not in ("", authority):
                stale[at] = AuthorityChangedError("authority changed meanwhile", next_step=_AGAIN)
            elif any(known.get(key) != version for key, version in record.expect.items()):
                stale[at] = KeyStateError("the key changed meanwhile", next_step=_AGAIN)
            else:
                continue
            if record.once is not None:
                work.idempotency.forget(*record.once[:2])
        return stale


def _unpacked(call: list[Any]) -> Record | VaultError:
    try:
        return Record.unpack(call)
    except InvalidInputError as error:
        return error


def _settle(work: Work, records: list[Record], receipts: list[Receipt]) -> None:
    outcomes = []
    for record, receipt in zip(records, receipts, strict=True):
        if record.once is not None:
            principal, key, _, results = record.once
            outcome = {
                "results": [result.hex() for result in results],
                "index": receipt.index,
                "leaf_hash": receipt.leaf_hash.hex(),
            }
            outcomes.append((principal, key, outcome))
    work.idempotency.settle(outcomes)


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="keyvault.recorder", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True)
    settings = Settings.load(parser.parse_args(arguments).settings)
    logging.basicConfig(level=logging.INFO, format="recorder: %(message)s")
    database = Database(settings.database, settings.node)
    recorder = Recorder(database)
    recorder.status()  # a database that does not answer is better known now
    handlers: dict[str, Callable[..., Any]] = {
        "append": recorder.append,
        "status": recorder.status,
    }
    uids = {os.geteuid(), *(pwd.getpwnam(name).pw_uid for name in settings.keys.callers)}
    with listen(settings.recorder, shared=len(uids) > 1) as listener:
        server = Server(listener, handlers, uids)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        gc.freeze()  # collecting what lives for ever is what made the slowest answers slow
        gc.set_threshold(50_000, 50, 100)
        server.serve()
    database.close()


if __name__ == "__main__":
    main()
