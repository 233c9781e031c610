"""Rooms: what is put in comes out the same, and a change that came between is noticed."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, timedelta
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from hsm.types import Algorithm, KeySpec, KeyUsage, WrappedKey
from keyvault.domain.approvals import (
    Approval,
    ApprovalRequest,
    Decision,
    RequestState,
    Seen,
    new_request,
)
from keyvault.domain.chain import Record
from keyvault.domain.commands import GenerateKey
from keyvault.domain.errors import (
    ConflictError,
    InvalidInputError,
    LogUnavailableError,
    NotFoundError,
)
from keyvault.domain.founding import NO_RECORD
from keyvault.domain.keys import Key, KeyState, Residence
from keyvault.domain.people import Role
from keyvault.domain.rules import Rule
from keyvault.domain.scopes import Scope
from keyvault.operations.vault import KeyCache
from keyvault.store import Database
from keyvault.store.engine import open_engine, reading
from keyvault.store.rows import moment, ticks
from tests.store.events import NOW, SCOPE, check_log, new_key, used

OTHER = Scope("party-2", "network-party", "33-44")


# Keys ----------------------------------------------------------------------------------------


def test_a_key_comes_out_as_it_went_in(database: Database) -> None:
    key = new_key()
    _save(database, key)
    assert _key(database, key) == key
    later = key.to(KeyState.ACTIVE, NOW + timedelta(seconds=1))
    with database.work() as work:
        work.keys.change(later)
        work.commit(used())
    assert _key(database, key) == later


def test_a_key_that_is_not_there_is_not_found(database: Database) -> None:
    with database.reading() as reading, pytest.raises(NotFoundError):
        reading.keys.get(uuid4())


def test_an_id_is_given_once(database: Database) -> None:
    key = new_key()
    _save(database, key)
    with database.work() as work:
        with pytest.raises(ConflictError):
            work.keys.add(replace(key, label="another"))
        work.commit(used())  # the transaction lives on: the refusal is an event
    assert _key(database, key) == key
    assert check_log(database) == 2


def test_a_change_between_reading_and_writing_is_noticed(database: Database) -> None:
    key = new_key()
    _save(database, key)
    with database.work() as work:
        work.keys.change(key.to(KeyState.ACTIVE, NOW))
        work.commit(used())
    with database.work() as work, pytest.raises(ConflictError):
        work.keys.change(key.to(KeyState.COMPROMISED, NOW))
    assert _key(database, key).state is KeyState.ACTIVE


def test_a_wrapped_key_rests_until_its_key_is_destroyed(database: Database) -> None:
    key = new_key(residence=Residence.WRAPPED)
    spec = KeySpec(key.id.bytes, "label", Algorithm.EC_P256, KeyUsage.SIGN, extractable=True)
    wrapped = WrappedKey(spec, b"blob", b"k" * 16, b"m" * 16, b"mac", b"spki")
    _save(database, key, wrapped)
    with database.reading() as reading:
        assert reading.keys.wrapped(key.id) == wrapped
        assert database.key(key.id) == (reading.keys.get(key.id), wrapped)  # both at once
    cache = KeyCache(database)
    assert cache.load(key.id) == key
    assert [cache.take(key.id.bytes), cache.take(key.id.bytes)] == [wrapped, None]
    with database.work() as work:
        work.keys.change(key.to(KeyState.DESTROYED, NOW))
        work.commit(used())
    with database.reading() as reading:
        assert reading.keys.wrapped(key.id) is None
        assert reading.keys.get(key.id).state is KeyState.DESTROYED
        assert database.key(key.id) == (reading.keys.get(key.id), None)
    with pytest.raises(NotFoundError):
        database.key(uuid4())


def test_keys_are_listed_newest_first_by_any_filter(database: Database) -> None:
    states = list(KeyState)
    keys = [
        new_key(
            created_at=NOW + timedelta(seconds=number // 2),  # two of each second
            scope=(SCOPE, OTHER)[number % 2],
            state=states[number % 3],
            label=f"label {number % 4}",
            algorithm=(Algorithm.EC_P256, Algorithm.EC_P384)[number % 2],
        )
        for number in range(24)
    ]
    _save(database, *keys)
    newest_first = sorted(keys, key=lambda key: (key.created_at, str(key.id)), reverse=True)
    for filters in (
        {},
        {"scope": SCOPE},
        {"state": states[1]},
        {"algorithm": Algorithm.EC_P384},
        {"label": "label 2", "scope": SCOPE},
        {"label": "label 2", "scope": OTHER},
    ):
        expected = [
            key for key in newest_first if all(getattr(key, k) == v for k, v in filters.items())
        ]
        wanted = {"scopes" if k == "scope" else k: v for k, v in filters.items()}
        if "scopes" in wanted:
            wanted["scopes"] = {wanted["scopes"]}
        assert list(_every(database, **wanted)) == expected
    assert len(list(_every(database, scopes={SCOPE, OTHER}))) == len(keys)
    assert list(_every(database, scopes=set())) == []


def test_every_filter_has_its_index(database_url: str) -> None:
    """Reading every row to find one is what makes pages slow at a million rows."""
    engine = open_engine(database_url)
    offered = {
        "event": ["type", "outcome", "stream", "actor", "scope"],
        "key": ["scope", "state", "algorithm", "label"],
        "approval_request": ["state", "requester"],
    }
    orders = {"event": "time_ms, idx", "key": "created_at, id"}
    explain = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    with reading(engine) as connection:
        if engine.dialect.name == "postgresql":  # so few rows are read faster one by one
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_sort = off"))
        for table, columns in offered.items():
            order = orders.get(table, "requested_at, id")
            for column in columns:
                query = (
                    f"{explain} SELECT * FROM {table} WHERE {column} = 'x' "  # noqa: S608  (our names)
                    f"AND ({order}) > (1, {1 if table == 'event' else repr('x')}) "
                    f"ORDER BY {order} LIMIT 51"
                )
                plan = " ".join(str(row) for row in connection.execute(text(query)))
                assert f"ix_{table}_{column}_" in plan
                assert "Sort" not in plan
                assert "TEMP B-TREE" not in plan
    engine.dispose()


# Requests ------------------------------------------------------------------------------------


def test_a_request_comes_out_with_its_approvals(database: Database) -> None:
    asked = _asked("alice")
    with database.work() as work:
        work.requests.add(asked)
        work.commit(used())
    approvals = [_approval("carol", "2026-11-22T15:00:02Z"), _approval("bob")]
    for approval in approvals:
        with database.work() as work:
            work.requests.add_approval(asked.request.id, approval)
            work.commit(used())
    with database.reading() as reading:
        expected = replace(asked, approvals=(approvals[1], approvals[0]))
        assert reading.requests.get(asked.request.id) == expected
        assert reading.requests.page() == ([expected], None)


def test_a_person_decides_once(database: Database) -> None:
    asked = _asked("alice")
    with database.work() as work:
        work.requests.add(asked)
        work.requests.add_approval(asked.request.id, _approval("bob"))
        with pytest.raises(ConflictError):
            work.requests.add_approval(asked.request.id, _approval("bob", "2026-11-22T16:00:00Z"))
        with pytest.raises(ConflictError):
            work.requests.add(asked)
        work.commit(used())
    with database.reading() as reading:
        assert reading.requests.get(asked.request.id).approvals == (_approval("bob"),)
        with pytest.raises(NotFoundError):
            reading.requests.get(uuid4())


def test_approvals_given_at_once_are_counted_one_after_the_other(database: Database) -> None:
    asked = _asked("alice")
    with database.work() as work:
        work.requests.add(asked)
        work.commit(used())
    counts: list[int] = []
    together = threading.Barrier(3)

    def decide(person: str) -> None:
        together.wait()
        with database.work() as work:
            before = work.requests.get(asked.request.id)
            work.requests.add_approval(asked.request.id, _approval(person))
            work.commit(used())
        counts.append(len(before.approvals) + 1)

    threads = [threading.Thread(target=decide, args=(name,)) for name in ("bob", "carol", "dave")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [1, 2, 3]


def test_a_request_moves_once_from_a_state(database: Database) -> None:
    asked = _asked("alice")
    with database.work() as work:
        work.requests.add(asked)
        work.commit(used())
    executing = asked.to(RequestState.APPROVED).to(RequestState.EXECUTING)
    with database.work() as work:
        work.requests.change(asked.to(RequestState.APPROVED))
        work.requests.change(executing)
        work.commit(used())
    with database.work() as work, pytest.raises(ConflictError):
        work.requests.change(asked.to(RequestState.CANCELLED))
    with database.reading() as reading:
        assert reading.requests.executing() == [executing]
        assert reading.requests.page(state=RequestState.EXECUTING) == ([executing], None)
        assert reading.requests.page(state=RequestState.DONE) == ([], None)
        assert reading.requests.page(requester="alice")[0] == [executing]
        assert reading.requests.page(requester="bob")[0] == []


# Authority -----------------------------------------------------------------------------------


def test_authority_grows_by_the_next_record_and_events_quote_what_was_in_force(
    database: Database,
) -> None:
    at = "2026-11-22T15:00:02Z"
    first = Record(0, NO_RECORD, {"ctx": "genesis"}, (), at)
    second = Record(1, first.hash, {"ctx": "next"}, (_approval("bob"),), at)
    for record in (first, second):
        with database.work() as work:
            work.authority.add(record)
            work.commit(used())
    with database.work() as work:
        work.commit(used())
        quoted = [event.header["pv"] for event in work.audit.events(0, 3)]
    assert quoted == ["", first.hash[:16], second.hash[:16]]
    with database.work() as work, pytest.raises(ConflictError):
        work.authority.add(second)
    with database.reading() as reading:
        assert reading.authority.records() == [first, second]
        assert reading.authority.records(start=1) == [second]


# Sessions and repeated calls -----------------------------------------------------------------


def test_a_session_lasts_until_it_is_closed_and_its_key_opens_no_other(database: Database) -> None:
    until = NOW + timedelta(hours=8)
    with database.work() as work:
        work.sessions.open("aa", "alice", until, NOW)
        assert work.sessions.get("aa") == ("alice", until)
        assert work.sessions.get("bb") is None
        assert work.sessions.close("aa")
        assert not work.sessions.close("aa")
        assert work.sessions.get("aa") is None
        with pytest.raises(ConflictError):
            work.sessions.open("aa", "mallory", until, NOW)
        work.commit(used())


def test_a_repeated_call_finds_what_the_first_one_left(database: Database) -> None:
    with database.work() as work:
        assert work.idempotency.find("system:a", "key-1") is None
        work.idempotency.begin("system:a", "key-1", b"hash")
        with pytest.raises(ConflictError):
            work.idempotency.begin("system:a", "key-1", b"other")
        with pytest.raises(NotFoundError):
            work.idempotency.finish("system:b", "key-1", {})
        work.commit(used())
    with database.work() as work:
        begun = work.idempotency.find("system:a", "key-1")
        assert begun is not None
        assert (begun.request_hash, begun.status, begun.outcome) == (b"hash", "begun", None)
        work.idempotency.finish("system:a", "key-1", {"answer": [1, "ü"]})
        work.commit(used())
    with database.reading() as reading:
        done = reading.idempotency.find("system:a", "key-1")
        assert done is not None
        assert (done.status, done.outcome) == ("done", {"answer": [1, "ü"]})


# Transactions --------------------------------------------------------------------------------


def test_a_transaction_without_a_commit_changes_nothing(database: Database) -> None:
    key = new_key()
    with database.work() as work:
        work.keys.add(key)
    with database.reading() as reading, pytest.raises(NotFoundError):
        reading.keys.get(key.id)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/x", "nonsense"])
def test_a_database_that_cannot_serve_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        Database(url)


def test_only_one_process_holds_an_office(database: Database, database_url: str) -> None:
    rival = Database(database_url)
    with rival.election("sealer") as rival_holds:
        with database.election("sealer") as holds:
            assert holds()
            assert holds()
            assert not rival_holds()
        assert rival_holds()
    rival.close()


def test_an_error_of_the_database_is_our_own(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    with pytest.raises(LogUnavailableError, match="log_head"), database.work() as work:
        work.commit(used())
    database.close()


@given(st.datetimes(timezones=st.just(UTC)))
@settings(max_examples=50)
def test_a_time_is_kept_to_the_microsecond(when) -> None:
    assert moment(ticks(when)) == when


def _save(database: Database, *keys: Key | WrappedKey) -> None:
    *keys, last = keys
    with database.work() as work:
        for key in keys if isinstance(last, WrappedKey) else [*keys, last]:
            work.keys.add(key, last if isinstance(last, WrappedKey) else None)
        work.commit(used())


def _key(database: Database, key: Key) -> Key:
    with database.reading() as reading:
        return reading.keys.get(key.id)


def _every(database: Database, **filters: object) -> Iterator[Key]:
    after = None
    with database.reading() as reading:
        while True:
            keys, after = reading.keys.page(**filters, after=after, limit=3)
            yield from keys
            if after is None:
                return


def _asked(requester: str) -> ApprovalRequest:
    rule = Rule("two-of-three", ("*",), ("*",), (Role.KEY_APPROVER,), 2, 3600)
    command = GenerateKey("label", Algorithm.EC_P256, KeyUsage.SIGN, "operational", 365, 730)
    request = new_request(
        request_id=uuid4(),
        origin="example.com/log/2026-1",
        command=command,
        scope=SCOPE,
        rule=rule,
        requester=requester,
        now=NOW,
        nonce=bytes(16),
        seen=Seen(0, "00" * 32),
    )
    return ApprovalRequest(request, RequestState.REQUESTED, 1)


def _approval(approver: str, at: str = "2026-11-22T15:00:01Z") -> Approval:
    return Approval(approver, "ab" * 32, Decision.APPROVE, "", at, Seen(0, "00" * 32), b"signature")
