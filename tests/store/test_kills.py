"""kill -9 at any moment: what was acknowledged is there, and the log is one whole."""

import asyncio
import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyvault.domain.errors import LogUnavailableError
from keyvault.store import Database
from keyvault.store.recorder_client import RecorderClient
from tests.store import victims
from tests.store.events import check_log, new_key, used

KILLS = [20, pytest.param(300, marks=pytest.mark.soak)]
CALLERS = 16
PATIENCE = 10.0  # seconds for a new process to begin
CONTEXT = multiprocessing.get_context("forkserver")  # so that hundreds start with imports done
CONTEXT.set_forkserver_preload(["tests.store.victims"])

Acknowledged = dict[int, bytes]  # index → leaf hash


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.timeout(900)
def test_a_writer_killed_at_any_moment_loses_nothing_it_acknowledged(
    database: Database, database_url: str, tmp_path: Path, kills: int
) -> None:
    key = new_key()
    with database.work() as work:
        work.keys.add(key)
        work.commit(used())
    acknowledged: Acknowledged = {}
    for number in range(kills):
        told = tmp_path / f"told-{number}"
        _kill(victims.write, database_url, key.id, told, once=lambda path=told: _is_filled(path))
        lines = told.read_text().rpartition("\n")[0].split("\n")
        pairs = [line.split() for line in lines]
        acknowledged |= {int(index): bytes.fromhex(leaf_hash) for index, leaf_hash in pairs}
    assert len(acknowledged) >= kills
    _check(database, acknowledged)
    with database.reading() as reading:
        events = reading.audit.events(0, reading.audit.head().size)
        changes = [event for event in events if event.header["st"] == f"key:{key.id}"]
        assert reading.keys.get(key.id).version == 1 + len(changes)


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.timeout(900)
def test_a_recorder_killed_at_any_moment_loses_nothing_it_acknowledged(
    database: Database, database_url: str, tmp_path: Path, kills: int
) -> None:
    acknowledged: Acknowledged = {}
    for _ in range(kills):
        acknowledged |= asyncio.run(_served(database_url, tmp_path / "recorder.sock"))
    assert len(acknowledged) >= kills
    _check(database, acknowledged)


def _kill(target: Callable[..., None], *arguments: Any, once: Callable[[], bool]) -> None:
    """Start a process, wait until it has begun its work, and kill it in the middle of it."""
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    patience = time.monotonic() + PATIENCE
    while not once():
        assert time.monotonic() < patience
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.05))  # noqa: S311  (any moment will do)
    assert process.is_alive()
    process.kill()
    process.join()
    process.close()


def _is_filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


async def _served(url: str, socket: Path) -> Acknowledged:
    """Let many callers use a recorder until it is killed; return what they were told."""
    client, acknowledged = RecorderClient(socket), {}
    killed = asyncio.create_task(
        asyncio.to_thread(_kill, victims.record, url, socket, once=lambda: bool(acknowledged))
    )

    async def calls(number: int) -> None:
        while not killed.done():
            try:
                receipt = await client.append(used(f"key:{number}"))
            except LogUnavailableError:
                await asyncio.sleep(0.002)
            else:
                acknowledged[receipt.index] = receipt.leaf_hash

    await asyncio.gather(killed, *map(calls, range(CALLERS)))
    await client.close()
    return acknowledged


def _check(database: Database, acknowledged: Acknowledged) -> None:
    size = check_log(database)
    with database.reading() as reading:
        stored = {event.index: event.leaf_hash for event in reading.audit.events(0, size)}
    assert acknowledged.items() <= stored.items()
