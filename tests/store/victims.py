"""Processes that the tests kill while they write. They tell what was acknowledged, line by line."""

import os
from itertools import count
from pathlib import Path
from uuid import UUID

from keyvault.recorder import Recorder
from keyvault.store import Database, Memory
from keyvault.wire import Server, listen
from tests.store.events import bumped, used


def write(url: str, key_id: UUID, told: Path) -> None:
    """Change a key and log it, for ever; after each commit tell its receipts."""
    database, memory = Database(url, node="victim"), Memory()
    output = os.open(told, os.O_WRONLY | os.O_CREAT)
    for number in count():
        with database.work(memory if number % 2 else None) as work:
            key = bumped(work.keys.get(key_id))
            work.keys.change(key)
            done = used(f"key:{key_id}", count=key.version)
            receipts = work.commit(done, *[used("request:1") for _ in range(number % 20)])
        text = "".join(f"{one.index} {one.leaf_hash.hex()}\n" for one in receipts)
        os.write(output, text.encode())


def record(url: str, socket: Path) -> None:
    """Be a recorder."""
    recorder = Recorder(Database(url, node="victim"))
    with listen(socket) as listener:
        Server(listener, {"append": recorder.append}, {os.getuid()}).serve()
