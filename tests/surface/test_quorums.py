"""Whether rules can be met, as operators are told: over HTTP, in figures, in health, in the log."""

import json
from datetime import timedelta

import pytest

from keyvault import bootstrap
from keyvault.operations import quorums
from tests.stack import Stack, ok


@pytest.fixture(scope="module")
def told(stack):
    """What /v1/quorums says, by rule."""
    items = ok(stack.person("bob").client().get("/v1/quorums"))["items"]
    return {item["rule"]: item for item in items}


def test_every_rule_is_told_with_who_can_sign_now_and_later(told):
    assert {"keys", "authority", "protection"} <= set(told)
    keys = told["keys"]
    assert keys["needed"] == 2
    assert {"alice", "bob", "carol"} <= set(keys["outlooks"][0]["able"])
    assert [len(one["outlooks"]) for one in told.values()] == [3] * len(told)
    assert told["protection"]["needed"] == 1


def test_who_reads_no_people_learns_nothing_of_quorums(dcc):
    for path in ("/v1/quorums", "/v1/people/alice/leaving"):
        answer = dcc.client().get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "not-permitted")


def test_nobody_leaves_who_is_not_there(stack):
    answer = stack.person("bob").client().get("/v1/people/nobody/leaving")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_a_leaver_takes_sessions_and_the_keys_they_ordered_are_named(stack, signing_key):
    report = ok(stack.person("bob").client().get("/v1/people/alice/leaving"))
    assert report["sessions"] >= 1
    assert report["keys_count"] >= len(report["keys"]) > 0
    everything = report["keys_count"] == len(report["keys"])
    assert signing_key in report["keys"] or not everything


def test_figures_tell_the_room_of_every_rule(dcc, told):
    text = dcc.client().get("/metrics").text
    assert 'keyvault_quorum_needed{rule="keys"} 2.0' in text
    able = len(told["keys"]["outlooks"][0]["able"])
    assert f'keyvault_quorum_able{{rule="keys"}} {able:.1f}' in text
    for days in (0, 30, 90):
        assert f'keyvault_quorum_margin{{days="{days}",rule="keys"}}' in text


def test_a_rule_without_room_is_a_remark_and_no_reason_to_stop(stack):
    ready = ok(stack.person("bob").client().get("/v1/health/ready"))
    [check] = [check for check in ready["checks"] if check["name"] == "quorums"]
    assert check["ok"] is True
    anonymous = ok(stack.client().get("/v1/health/ready"))
    [silent] = [check for check in anonymous["checks"] if check["name"] == "quorums"]
    assert silent["reason"] == ""


def test_a_change_is_an_event_once_and_so_is_the_recovery():
    with Stack.make() as small:  # three officers, and nothing runs
        vault = bootstrap.build(small.settings)
        now = vault.clock()

        def swept(days):
            vault.clock = lambda: now + timedelta(days=days)
            quorums.sweep(vault)
            return newest(vault)

        first = swept(0)
        assert levels(first) == {"keys": "no-spare", "authority": "no-spare", "protection": None}
        assert swept(0) == first  # it is said once
        later = swept(280)
        assert levels(later) == dict.fromkeys(("keys", "authority", "protection"), "at-risk")
        assert levels(swept(400)) == dict.fromkeys(("keys", "authority", "protection"), "broken")
        back = swept(1)
        assert levels(back)["protection"] == "good"
        assert back["protection"].header["ty"] == "QUORUM.RECOVERED"
        assert "the screening of Alice was due" in later["keys"].payload.decode()
        assert "nobody more may fall away" in quorums.remark(vault)
        vault.close()


def newest(vault):
    with vault.database.reading() as work:
        rules = ("keys", "authority", "protection")
        return {rule: work.audit.newest_of(f"rule:{rule}") for rule in rules}


def levels(events):
    return {rule: event and json.loads(event.payload)["level"] for rule, event in events.items()}
