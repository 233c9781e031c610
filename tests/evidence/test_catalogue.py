"""Every event has its schema: what does not fit is told, and no hash is said to be broken."""

import pytest

from tests.evidence.world import World


def said(check, kind, payload, **more):
    world = World()
    world.event(kind, payload, **more)
    status, answer = check(world.bundle())
    assert (status, answer["problems"]) == (0, [])
    return dict(answer["transcript"]).get("schema", "")


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"name": "siem", "position": 3}, ""),
        ({"name": "siem", "position": "3"}, "position of STREAM.RECOVERED is not in the list"),
        ({"name": "siem", "position": True}, "position of STREAM.RECOVERED is not in the list"),
        ({"name": "siem", "position": 3, "pin": "1"}, "pin of STREAM.RECOVERED is not in the list"),
        ({"name": "siem"}, "STREAM.RECOVERED lacks position"),
    ],
)
def test_a_payload_that_does_not_fit_its_schema_is_told(check, payload, words):
    told = said(check, "STREAM.RECOVERED", payload)
    assert words in told
    assert bool(told) is bool(words)


def test_an_event_that_is_in_no_list_is_told(check):
    told = said(check, "STREAM.RECOVERED", {}, header={"ty": "KEY.SOLD"})
    assert told.endswith("first event 1: KEY.SOLD is no event of the list")
