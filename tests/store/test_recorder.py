"""The recorder: one commit for all who wait, and one bad record harms nobody else."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from keyvault.domain.errors import (
    AuthorityChangedError,
    ConflictError,
    InvalidInputError,
    KeyStateError,
    LogUnavailableError,
)
from keyvault.domain.keys import Key, KeyState
from keyvault.recorder import ROUND, Recorder
from keyvault.store import Database, Receipt
from keyvault.store.recorder_client import Record, RecorderClient
from keyvault.wire import Server, listen
from tests.store.events import NOW, check_log, new_key, used


@pytest.fixture
def recorder(database: Database) -> Recorder:
    return Recorder(database)


@pytest.fixture
def key(database: Database) -> Key:
    key = new_key(state=KeyState.ACTIVE)
    with database.work() as work:
        work.keys.add(key)
        work.commit(used())
    return key


@pytest.fixture
def socket(recorder: Recorder, tmp_path: Path) -> Iterator[Path]:
    """A recorder that serves from a thread."""
    path = tmp_path / "recorder.sock"
    with listen(path) as listener:
        server = Server(listener, {"append": recorder.append}, {os.getuid()})
        thread = threading.Thread(target=server.serve)
        thread.start()
        yield path
        server.stop()
        thread.join()


def test_a_record_travels_as_it_is() -> None:
    once = ("system:a", "key-1", b"hash", [b"result"])
    record = Record(used(note="ü"), {str(uuid4()): 3}, once)
    assert Record.unpack(record.pack()) == record
    assert Record.unpack(record._replace(once=None).pack()).once is None


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1, 2, 3],
        [{}, {}, None],
        [{"type": "KEY.INVENTED"}, {}, None],
        [Record(used(), {}, None).pack()[0], {"no uuid": 1}, None],
        [Record(used(), {}, None).pack()[0], {}, ["too", "short"]],
    ],
)
def test_what_is_no_record_is_refused_alone(recorder: Recorder, values: list[object]) -> None:
    answers = recorder.append([_call(), values, _call()])
    assert [type(answer) for answer in answers] == [list, InvalidInputError, list]


def test_a_round_is_one_commit_and_each_gets_its_receipt(
    database: Database, recorder: Recorder
) -> None:
    answers = recorder.append([_call(f"key:{number % 5}") for number in range(ROUND + 10)])
    with database.reading() as reading:
        events = list(reading.audit.events(0, ROUND + 10))
    assert answers == [[event.index, event.leaf_hash] for event in events]
    assert check_log(database) == ROUND + 10


def test_an_event_that_the_log_refuses_harms_no_other(
    database: Database, recorder: Recorder
) -> None:
    long, fraction = used(text="x" * 300_000), used(number=1.5)
    calls = [_call(), Record(long, {}, None).pack(), _call(), Record(fraction, {}, None).pack()]
    kinds = [type(answer) for answer in recorder.append(calls)]
    assert kinds == [list, InvalidInputError, list, InvalidInputError]
    assert check_log(database) == 2


def test_a_key_that_changed_meanwhile_kills_only_its_own_record(
    database: Database, recorder: Recorder, key: Key
) -> None:
    stale, unknown = {str(key.id): key.version + 1}, {str(uuid4()): 1}
    calls = [_call(expect=expect) for expect in ({str(key.id): key.version}, stale, unknown, {})]
    kinds = [type(answer) for answer in recorder.append(calls)]
    assert kinds == [list, KeyStateError, KeyStateError, list]
    assert check_log(database) == 3


def test_a_suspended_key_signs_nothing_from_the_moment_of_the_commit(
    database: Database, recorder: Recorder, key: Key
) -> None:
    call = _call(expect={str(key.id): key.version})
    assert isinstance(recorder.append([call])[0], list)
    with database.work() as work:
        work.keys.change(key.to(KeyState.SUSPENDED, NOW))
        work.commit(used())
    assert isinstance(recorder.append([call])[0], KeyStateError)
    assert check_log(database) == 3


def test_what_was_decided_under_an_older_authority_is_written_by_nobody(
    database: Database, recorder: Recorder
) -> None:
    once = ("system:a", "key-1", b"hash", [b"result"])
    decided = Record(used(), {}, once, authority="0123456789abcdef").pack()
    kinds = [type(answer) for answer in recorder.append([decided, _call()])]
    assert kinds == [AuthorityChangedError, list]
    with database.work() as work:
        work.authority.newest = "0123456789abcdef"
        work.commit(used())
    assert isinstance(recorder.append([decided])[0], list)  # its Idempotency-Key was not spent
    assert check_log(database) == 3


def test_a_transaction_in_between_is_noticed(database: Database, recorder: Recorder) -> None:
    for _ in range(3):
        recorder.append([_call("key:1"), _call("key:2")])
        with database.work() as work:
            work.commit(used("key:1"))
    assert check_log(database) == 9


def test_a_repeated_call_is_recorded_once(database: Database, recorder: Recorder) -> None:
    once = ("system:a", "key-1", b"hash", [b"\x01", b"\x02"])
    first, second, other = recorder.append(
        [_call(once=once), _call(once=once), _call(once=("system:b", *once[1:]))]
    )
    assert isinstance(first, list)
    assert isinstance(second, ConflictError)
    assert isinstance(other, list)
    assert isinstance(recorder.append([_call(once=once)])[0], ConflictError)
    with database.reading() as reading:
        recorded = reading.idempotency.find("system:a", "key-1")
    assert recorded is not None
    assert recorded.request_hash == b"hash"
    expected = {"results": ["01", "02"], "index": first[0], "leaf_hash": first[1].hex()}
    assert recorded.outcome == expected
    assert check_log(database) == 2


def test_a_call_whose_key_had_changed_may_be_made_again(
    database: Database, recorder: Recorder, key: Key
) -> None:
    once = ("system:a", "key-1", b"hash", [b"result"])
    stale = _call(expect={str(key.id): 7}, once=once)
    assert isinstance(recorder.append([stale, _call()])[0], KeyStateError)
    assert isinstance(recorder.append([_call(once=once)])[0], list)
    assert check_log(database) == 3


def test_without_a_database_every_record_of_the_round_fails(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    answers = Recorder(database).append([_call(), _call()])
    assert [type(answer) for answer in answers] == [LogUnavailableError] * 2
    database.close()


def test_clients_and_transactions_write_one_log(database: Database, socket: Path) -> None:
    async def clients() -> list[Receipt]:
        client = RecorderClient(socket)
        receipts = await asyncio.gather(*[client.append(used(f"key:{n % 7}")) for n in range(300)])
        await client.close()
        return receipts

    def business() -> None:
        for _ in range(20):
            with database.work() as work:
                work.commit(used("key:1"), used("request:1"))

    thread = threading.Thread(target=business)
    thread.start()
    receipts = asyncio.run(clients())
    thread.join()
    assert check_log(database) == 340
    with database.reading() as reading:
        for receipt in receipts:
            assert reading.audit.event(receipt.index).leaf_hash == receipt.leaf_hash


def test_errors_reach_the_client_as_what_they_are(socket: Path, tmp_path: Path) -> None:
    async def append(path: Path, **more: object) -> None:
        client = RecorderClient(path)
        try:
            await client.append(used(), **more)
        finally:
            await client.close()

    with pytest.raises(KeyStateError):
        asyncio.run(append(socket, expect={str(uuid4()): 1}))
    with pytest.raises(LogUnavailableError):
        asyncio.run(append(tmp_path / "nobody.sock"))


def _call(
    stream: str = "key:1",
    expect: dict[str, int] | None = None,
    once: tuple[str, str, bytes, list[bytes]] | None = None,
) -> list[object]:
    return Record(used(stream), expect or {}, once).pack()
