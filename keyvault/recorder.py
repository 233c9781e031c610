"""The recorder: one process a host that writes the events of the hot path.

What arrives while one commit is under way is the next one: no timer, and one flush for all who
wait. Each record is checked against the key's version under the lock of the log's head, so a
key that was suspended meanwhile takes its signature with it.
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

from keyvault.domain.errors import ConflictError, InvalidInputError, KeyStateError, VaultError
from keyvault.settings import Settings
from keyvault.store import Database, Memory, Receipt, Work
from keyvault.store.recorder_client import Record
from keyvault.wire import Server, batch, listen

ROUND = 512  # events in one transaction at most
Answer = list[Any] | Exception


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
            if len(records) == 1:
                return [InvalidInputError(str(error))]
            return [answer for record in records for answer in self._written([record])]
        except VaultError as error:
            return [error] * len(records)

    def _commit(self, records: list[Record]) -> list[Answer]:
        with self._database.work(self._memory) as work:
            refused = _claim(work, records)
            refused |= self._stale(work, records, refused)
            good = [at for at in range(len(records)) if at not in refused]
            answers: list[Answer] = [refused.get(at, []) for at in range(len(records))]
            if good:
                kept = [records[at] for at in good]
                receipts = work.commit(
                    *[record.event for record in kept],
                    note=lambda receipts: _finish(work, kept, receipts),
                )
                for at, receipt in zip(good, receipts, strict=True):
                    answers[at] = [receipt.index, receipt.leaf_hash]
            return answers

    def _stale(
        self, work: Work, records: list[Record], claimed: dict[int, Answer]
    ) -> dict[int, Answer]:
        """Find the records whose keys have changed. From here on no key can change."""
        work.log.lock()
        known = self._memory.versions
        unknown = {key for record in records for key in record.expect} - known.keys()
        if unknown:
            known.update(work.keys.versions(sorted(unknown)))
        stale: dict[int, Answer] = {}
        for at, record in enumerate(records):
            if at not in claimed and any(known.get(k) != v for k, v in record.expect.items()):
                stale[at] = KeyStateError("the key changed meanwhile", next_step="try again")
                if record.once is not None:
                    work.idempotency.forget(*record.once[:2])
        return stale


def _unpacked(call: list[Any]) -> Record | VaultError:
    try:
        return Record.unpack(call)
    except InvalidInputError as error:
        return error


def _claim(work: Work, records: list[Record]) -> dict[int, Answer]:
    """Take the Idempotency-Keys, before the head as everybody does; say whose were taken."""
    asked: dict[tuple[str, str], bytes] = {}
    owners: dict[tuple[str, str], int] = {}
    for at, record in enumerate(records):
        if record.once is not None:
            asked.setdefault(record.once[:2], record.once[2])
            owners.setdefault(record.once[:2], at)
    won = work.idempotency.claim(asked) if asked else set()
    return {
        at: ConflictError("a call with this Idempotency-Key was made before")
        for at, record in enumerate(records)
        if record.once is not None and (record.once[:2] not in won or owners[record.once[:2]] != at)
    }


def _finish(work: Work, records: list[Record], receipts: list[Receipt]) -> None:
    for record, receipt in zip(records, receipts, strict=True):
        if record.once is not None:
            principal, key, _, results = record.once
            outcome = {
                "results": [result.hex() for result in results],
                "index": receipt.index,
                "leaf_hash": receipt.leaf_hash.hex(),
            }
            work.idempotency.finish(principal, key, outcome)


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
