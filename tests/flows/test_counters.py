"""Originator counters through the whole service: many callers, crashes, and an old database."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from itertools import chain
from uuid import uuid4

import pytest
from sqlalchemy import delete, insert, select

from keyvault.store import tables
from keyvault.store.engine import open_engine, writing
from tests.stack import ROOT, SCOPE, Stack, ok
from tests.vectors import make_gbcs

US = "90B3D51F30010000"
SERIES = f"ACME/{US}/management"
TABLES = (tables.originator_counter, tables.idempotency)


@pytest.fixture(scope="module")
def adapter(stack: Stack):
    return stack.system("counter-user", "key:derive", "key:read")


def reserve(adapter, **body: object) -> range:
    taken = ok(adapter.client().post("/v1/counters/reservations", json=body))
    return range(int(taken["first"], 16), int(taken["last"], 16) + 1, int(taken["step"], 16))


def shown(stack: Stack, series: str = SERIES) -> dict:
    items = ok(stack.person("alice").client().get("/v1/counters?limit=500"))["items"]
    return next(item for item in items if item["series"] == series)


def events(auditor, kind: str, series: str = SERIES) -> list[dict]:
    query = {"type": kind, "stream": f"counter:{series}", "limit": 500}
    return ok(auditor.client().get("/v1/audit/events", params=query))["items"]


@pytest.fixture(scope="module")
def auditor(stack: Stack):
    return stack.register("dora", "auditor")


def test_thirty_two_callers_in_four_processes_never_get_a_number_twice(stack, adapter, auditor):
    """One of the processes is killed in the midst of it: it loses numbers and repeats none."""
    before = reserve(adapter, count=5)
    command = [sys.executable, ROOT / "tests/flows/reserving.py", stack.config, adapter.certificate]
    children = [
        subprocess.Popen(
            [*map(str, command), times],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for times in ("1000", "2", "2", "2")
    ]
    doomed = children[0]
    lines = [doomed.stdout.readline() for _ in range(10)]
    doomed.kill()
    lines += [line for child in children for line in child.stdout.read().splitlines()]
    for child in children:
        child.stdout.close()
        assert child.wait(60) == (0 if child is not doomed else -9)
    given = [json.loads(line) for line in lines if line.endswith(("]", "]\n"))]
    numbers = list(chain.from_iterable(range(first, last + 1) for first, last in given))
    assert len(given) >= 10 + 3 * 8 * 2
    assert len(numbers) == len(set(numbers))
    assert min(numbers) > before[-1]
    assert reserve(adapter)[0] > max(numbers)
    said = events(auditor, "COUNTER.ADVANCED")
    assert {event["header"]["out"] for event in said} == {"intent", "ok"}


def test_after_a_restore_no_number_comes_again_and_the_log_says_why(stack, adapter, auditor):
    old = reserve(adapter, count=3)
    backup = rows(stack)
    lost = [reserve(adapter, count=200), reserve(adapter)]
    put_back(stack, backup)
    highest = lost[-1][-1]
    assert int(shown(stack)["issued"], 16) < highest
    before = {e["index"] for e in events(auditor, "COUNTER.REGRESSION_BLOCKED")}

    assert reserve(adapter)[0] == highest + 1
    said = events(auditor, "COUNTER.REGRESSION_BLOCKED")
    [event] = [e for e in said if e["index"] not in before]
    assert int(event["payload"]["highest"], 16) == highest
    assert int(shown(stack)["floor"], 16) == highest
    assert old[-1] < highest


def test_numbers_from_before_a_restore_protect_nothing_after_it(stack, adapter):
    key = stack.active_key(usage="agree")
    old = reserve(adapter)
    backup = rows(stack)
    reserve(adapter)
    put_back(stack, backup)
    body = message(old[0])
    for code in ("counter-regression", "counter-not-issued"):
        refused = adapter.client().post(f"/v1/keys/{key}/agreed-macs", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, code)
    fresh = message(reserve(adapter)[0])
    ok(adapter.client().post(f"/v1/keys/{key}/agreed-macs", json=fresh))


def message(counter: int) -> dict:
    peer = make_gbcs.spki(make_gbcs.scalar("meter 0"))
    return {
        "peer": b64encode(peer).decode(),
        "recipient": make_gbcs.METER,
        "counter": f"{counter:016X}",
        "data": "",
    }


def rows(stack: Stack) -> list[list[dict]]:
    """Yesterday's copy of what the database holds of counters."""
    engine = open_engine(stack.settings.database)
    with engine.connect() as connection:
        copies = [
            [dict(row) for row in connection.execute(select(table)).mappings()] for table in TABLES
        ]
    engine.dispose()
    return copies


def put_back(stack: Stack, copies: list[list[dict]]) -> None:
    engine = open_engine(stack.settings.database)
    with writing(engine) as connection:
        for table, kept in zip(TABLES, copies, strict=True):
            connection.execute(delete(table))
            if kept:
                connection.execute(insert(table), kept)
        connection.commit()
    engine.dispose()


def test_a_repeated_reservation_gets_the_same_numbers(adapter):
    once = {"Idempotency-Key": f"take-{uuid4()}"}
    path = "/v1/counters/reservations"
    first, again = (
        ok(adapter.client().post(path, json={"count": 2}, headers=once)) for _ in range(2)
    )
    assert first == again
    other = adapter.client().post(path, json={"count": 3}, headers=once)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


def test_a_floor_leaves_numbers_out_and_voids_those_that_were_given(stack, adapter, auditor):
    given = reserve(adapter, count=2)
    floor = given[-1] + 1000
    body = {"scope": SCOPE, "floor": f"{floor:016X}", "reason": "credentials were changed"}
    client = stack.person("alice").client()
    ok(client.post("/v1/counters/floors", json=body))
    assert reserve(adapter)[0] == floor + 1
    lower = client.post("/v1/counters/floors", json={**body, "floor": f"{floor:016X}"})
    assert (lower.status_code, lower.json()["code"]) == (422, "invalid-input")
    [*_, event] = sorted(events(auditor, "COUNTER.FLOOR_RAISED"), key=lambda e: e["index"])
    assert event["payload"]["after"] == f"{floor:016X}"
    key = stack.active_key(usage="agree")
    refused = adapter.client().post(f"/v1/keys/{key}/agreed-macs", json=message(given[0]))
    assert (refused.status_code, refused.json()["code"]) == (409, "counter-not-issued")
    denied = adapter.client().post("/v1/counters/floors", json=body)
    assert denied.status_code == 403


def test_a_system_sees_the_series_of_its_organisation_alone(stack, adapter):
    reserve(adapter)
    other = stack.system("stranger-1", "key:read", "key:derive", scope={**SCOPE, "party": "OTHER"})
    assert ok(other.client().get("/v1/counters"))["items"] == []
    reserve(other)
    seen = ok(other.client().get("/v1/counters"))["items"]
    assert [item["series"] for item in seen] == [f"OTHER/{US}/management"]
    assert SERIES in {i["series"] for i in ok(adapter.client().get("/v1/counters"))["items"]}


def test_a_user_id_that_is_no_eui64_has_no_counters(stack):
    odd = stack.system("odd-1", "key:derive", scope={**SCOPE, "user_id": "shift-3"})
    refused = odd.client().post("/v1/counters/reservations", json={})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")
