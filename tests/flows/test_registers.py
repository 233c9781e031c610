"""Asset registers: complete, with place and owner, and harmless in a spreadsheet."""

import csv
import io
import json

from keyvault.domain.life import VERBS
from tests.stack import Stack, ok


def rows(stack: Stack, name: str, person: str = "bob"):
    answer = stack.person(person).client().get(f"/v1/registers/{name}")
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_the_register_of_keys_says_where_each_is_whose_it_is_and_what_was_done(stack: Stack):
    key, bulk = stack.order_key(), stack.order_key(key_class="bulk")
    bob = stack.person("bob").client()
    ok(bob.post(f"/v1/keys/{key}/steps", json={"step": "labelled", "text": "a label"}))
    found = {row["id"]: row for row in rows(stack, "keys")}
    one = found[key]
    assert (one["owner"], one["residence"], one["state"]) == ("alice", "resident", "pre-active")
    assert one["labelled"].startswith("20")
    assert one["serial"]
    assert found[bulk]["module"].startswith("database")
    told = ok(bob.get("/v1/registers/keys", params={"format": "json"}))
    assert {row["id"] for row in told["items"]} == set(found)
    assert set(told["columns"]) == set(one)


def test_each_of_the_nine_verbs_is_a_dated_field_of_the_register(stack: Stack):
    first = stack.active_key()
    second = stack.order_key(supersedes=first)
    before = {row["id"]: row for row in rows(stack, "keys")}
    assert set(VERBS) <= set(before[first])
    assert all(before[first][name] for name in ("ordered", "generated", "registered"))
    assert not before[first]["superseded"]
    stack.change(second, "activations")
    after = {row["id"]: row for row in rows(stack, "keys")}
    assert after[first]["superseded"] == after[second]["activated"] != ""
    assert after[first]["ordered"] <= after[first]["generated"]


def test_the_other_registers_are_complete(stack: Stack):
    modules = rows(stack, "modules")
    assert [row["name"] for row in modules] == ["keys", "log"]
    assert all(row["serial"] and row["library_sha256"] for row in modules)
    assert {"alice", "bob", "carol"} <= {row["id"] for row in rows(stack, "people")}
    assert rows(stack, "shares") == rows(stack, "backups") == []
    assert all(row["id"] and row["kind"] for row in rows(stack, "certificates"))


def test_that_a_register_was_taken_away_is_in_the_log_before_its_first_byte(stack: Stack, vault):
    before = _exports(vault)
    answer = stack.person("alice").client().get("/v1/registers/keys", params={"format": "json"})
    assert json.loads(answer.text)["register"] == "keys"
    assert _exports(vault) == before + 1


def _exports(vault) -> int:
    with vault.database.reading() as work:
        found, _ = work.audit.page(stream="register:keys", limit=500)
        return len(found)


def test_a_system_takes_no_register_away(stack: Stack):
    refused = stack.system("greedy").client().get("/v1/registers/keys")
    assert (refused.status_code, refused.json()["code"]) == (403, "not-permitted")
