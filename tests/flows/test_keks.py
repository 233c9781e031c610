"""Rotating the key under which others rest: all are brought under the next, then the old goes."""

import os
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from keyvault.domain.access import Principal
from keyvault.domain.commands import RetireKek, RotateKek
from keyvault.domain.keys import kek_name, service_key_id
from keyvault.operations import keks
from tests.stack import Stack, ok


def standing(stack: Stack):
    return ok(stack.person("bob").client().get("/v1/keks"))["items"]


def rotated(stack: Stack) -> int:
    number = standing(stack)[-1]["number"] + 1
    stack.carry_out(stack.ask(RotateKek(number, "for a test")))
    return number


def rewrapped(stack: Stack) -> int:
    bob, done, after = stack.person("bob").client(), 0, {}
    while True:
        run = ok(bob.post("/v1/keks/batches", params=after))
        assert run["failed"] == []
        done, after = done + run["done"], {"after": run["after"]}
        if run["after"] is None:
            assert run["left"] == 0
            return done


def signs(stack: Stack, key: str) -> bool:
    digest = b64encode(os.urandom(32)).decode()
    path = f"/v1/keys/{key}/signatures"
    return (
        stack.system(f"s-{os.urandom(4).hex()}")
        .client()
        .post(path, json={"digest": digest})
        .is_success
    )


def test_keys_go_under_the_next_one_and_the_old_one_is_destroyed_once_nothing_rests_there(
    stack: Stack,
):
    made = [stack.active_key(key_class="bulk") for _ in range(2)]
    made.append(stack.order_key(key_class="bulk", usage="agree"))
    assert signs(stack, made[0])
    old = standing(stack)[-1]["number"]
    new = rotated(stack)
    body = {"command": "retire-kek", "parameters": {"number": old, "reason": "x"}, "scope": None}
    early = stack.person("alice").client().post("/v1/requests", json=body)
    assert (early.status_code, early.json()["code"]) == (409, "key-needed")
    later = stack.active_key(key_class="bulk")  # made meanwhile: under the new one at once
    behind_all = {"after": str(UUID(int=2**128 - 1))}
    run = ok(stack.person("bob").client().post("/v1/keks/batches", params=behind_all))
    assert (run["done"], run["failed"], run["after"]) == (0, [], None)
    assert run["left"] >= len(made)
    assert rewrapped(stack) >= len(made)
    found = {one["number"]: one["keys"] for one in standing(stack)}
    assert found[old] == 0
    assert found[new] >= len(made) + 1
    stack.carry_out(stack.ask(RetireKek(old, "nothing rests under it")))
    assert old not in [one["number"] for one in standing(stack)]
    assert all(signs(stack, key) for key in (*made[:2], later))
    report = ok(stack.person("bob").client().post("/v1/reconciliations"))
    assert [one for one in report["report"]["findings"] if "keyvault kek" in one["label"]] == []


def batches(vault):
    """Every batch of a run, of one key each."""
    with vault.database.reading() as work:
        person = vault.authority(work).people["bob"]
    ends = datetime.now(UTC) + timedelta(days=1)
    who, after = Principal(person, ends, "00"), None
    while True:
        run = keks.rewrap(vault, who, after)
        yield run
        after = run.last
        if after is None:
            return


def test_a_run_that_was_cut_off_goes_on_and_what_was_altered_stays_and_stops_no_other(
    stack: Stack, vault, monkeypatch
):
    monkeypatch.setattr(keks, "BATCH", 1)
    keys = sorted(stack.active_key(key_class="bulk") for _ in range(3))
    new = rotated(stack)
    stack.kill("gate")
    stack.kill("api")
    stack.start("gate", "api")
    assert all(signs(stack, key) for key in keys)  # as before, under the old one
    with vault.database.work() as work:
        row = work.keys.wrapped(UUID(keys[0]))
        forged = work.keys.rewrap(row, type(row)(row.spec, row.blob[::-1], *_rest(row)))
        assert forged
        work._connection.commit()  # noqa: SLF001  (what an intruder does needs no event)
    runs = list(batches(vault))
    assert [key for run in runs for key, _ in run.failed] == [keys[0]]
    assert {run.done + len(run.failed) for run in runs[:-1]} == {1}
    assert runs[-1].left == 1
    under = UUID(bytes=service_key_id(kek_name(new)))
    with vault.database.reading() as work:
        there, _ = work.keys.wrapped_under(under, 500)
        assert {UUID(keys[1]), UUID(keys[2])} <= set(there)
        work.keys.wrapped(UUID(keys[0]))
    with vault.database.work() as work:
        damaged = work.keys.wrapped(UUID(keys[0]))
        work.keys.rewrap(damaged, row)
        work._connection.commit()  # noqa: SLF001  (and back)
    assert rewrapped(stack) == 1


def _rest(row):
    return row.kek_id, row.mac_key_id, row.mac, row.public_key


@pytest.mark.parametrize("number", [1, 3, 65])
def test_only_the_next_number_is_made(stack: Stack, number: int):
    newest = standing(stack)[-1]["number"]
    wrong = {1: 1, 3: newest + 2, 65: 65}[number]
    body = {"command": "rotate-kek", "parameters": {"number": wrong, "reason": "x"}, "scope": None}
    asked = stack.person("alice").client().post("/v1/requests", json=body)
    if not asked.is_success:
        assert asked.json()["code"] == "invalid-input"
        return
    request = asked.json()
    stack.approve(request, "bob", "carol")
    refused = stack.person("alice").client().post(f"/v1/requests/{request['id']}/executions")
    assert (refused.status_code, refused.json()["code"]) == (409, "key-state")
