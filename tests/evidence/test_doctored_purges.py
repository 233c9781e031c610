"""Payloads that were purged, with a certificate or without: what an assessor is told of each."""

import hashlib
import json
from datetime import timedelta

import pytest

from keyvault.domain import commands as c
from keyvault.domain.canonical import canonical
from keyvault.domain.retention import Retention, bits_of
from keyvault.domain.times import text_of
from keyvault.domain.tree import inclusion_proof
from keyvault.evidence.lone import Lone
from tests.evidence.world import EVIDENCE, full_world, resigned, rezip, unzip

EVENTS, ERASURES = "events.ndjson", "erasures.ndjson"
USED = "KEY.USED"


class Purged:
    """A world in which the uses of keys were purged. What may be cheated with are arguments."""

    def __init__(self, *, held=False, lifted=False, approvers=("bob", "carol"), **changes):
        self.world = world = full_world()
        self.before = changes.pop("before", text_of(world.now + timedelta(seconds=1)))
        retention = changes.pop("retention", Retention.USE)
        self.gone = changes.pop("gone", None) or self.of_type(USED)
        told = []
        if held:
            told.append(self.hold())
        if lifted:
            told.append(self.decide(c.LiftLogHold(self.held, "over"), "AUDIT.HOLD_LIFTED", {}))
        command = c.PurgePayloads(retention, self.before, "thirteen months are over")
        payload = {"retention": str(retention), "before": self.before, **bits_of(self.gone)}
        names = {"payload": {**payload, **changes.pop("payload", {})}}
        told.append(self.decide(command, "PAYLOAD.PURGED", names["payload"], approvers))
        self.told = told[1:] if changes.pop("hidden", False) else told
        for index in self.gone:
            leaf = world.leaves[index]
            world.leaves[index] = type(leaf)(leaf.data, leaf.hash, b"", b"")

    def of_type(self, kind):
        return [i for i, leaf in enumerate(self.world.leaves) if kind.encode() in leaf.data]

    def hold(self):
        self.held = self.world.unique()
        leaf = json.loads(self.world.leaves[self.gone[0]].data)
        said = {"hold": str(self.held), "about": leaf["h"]["st"], "kind": "legal", "reason": "12"}
        return self.world.event("AUDIT.HOLD_SET", said, stream="log-holds")

    def decide(self, command, kind, payload, approvers=("bob", "carol")):
        document = self.world.request(command).document
        approvals = [self.world.approval(name, document).document() for name in approvers]
        signed = {"request": document, "approvals": approvals}
        return self.world.event(kind, {**signed, **payload})

    def bundle(self, **more):
        read, size = self.world.reader, len(self.world.leaves)
        lines = [
            Lone(at, self.world.leaves[at], inclusion_proof(read, at, size)).line()
            for at in self.told
        ]
        return self.world.bundle(erasures=tuple(lines), **more)


PURGED = Purged()
FILES = unzip(PURGED.bundle())


def test_what_was_purged_is_covered_and_named_under_its_certificate(check):
    status, answer = check(PURGED.bundle())
    assert (status, answer["problems"]) == (0, [])
    said = dict(answer["transcript"])["purged"]
    assert f"{len(PURGED.gone)} events here were purged under certificate" in said
    assert "class use" in said
    assert said.endswith("approved by bob, carol")
    assert answer["queries"]["no-erasure"].startswith("refuted")


def test_a_purge_in_a_filtered_bundle_is_covered_as_well(check):
    status, answer = check(PURGED.bundle(filter={"ty": ["KEY.SUSPENDED"]}))
    assert (status, answer["problems"]) == (0, [])


def test_a_payload_that_is_missing_without_a_certificate_is_wrong(caught):
    files = {name: data for name, data in FILES.items() if name != ERASURES}
    data = rezip(resigned(files, EVIDENCE.sign))
    caught(data, "is erased, and nobody approved that", EVENTS, PURGED.gone[0])


def test_one_more_payload_than_the_certificate_names_is_wrong(caught):
    rows = [json.loads(line) for line in FILES[EVENTS].splitlines()]
    at = next(r["i"] for r in rows if "p" in r and r["h"]["ty"] == "KEY.SUSPENDED")
    commitment = json.loads(PURGED.world.leaves[at].data)["p"]
    rows[at] = {"c": commitment, "e": 1, "h": rows[at]["h"], "i": at}
    files = {**FILES, EVENTS: b"".join(canonical(row) + b"\n" for row in rows)}
    caught(rezip(resigned(files, EVIDENCE.sign)), "is erased, and nobody approved", EVENTS, at)


@pytest.mark.parametrize(
    ("cheat", "words"),
    [
        ({"before": "2026-11-22T09:00:01Z"}, "was purged before its time"),
        ({"retention": Retention.ACCESS}, "was purged as of class access, which it is not"),
        ({"held": True}, "was purged while it was on hold"),
        ({"held": True, "hidden": True}, f"is missing in {ERASURES}"),
        ({"approvers": ("bob",)}, "1 of 2 approvals"),
        ({"payload": {"retention": "key"}}, "people approved another purge"),
        ({"payload": {"count": 1}}, "does not count what was purged"),
        ({"payload": {"events": "AAAAAA=="}}, "does not count what was purged"),
    ],
)
def test_a_purge_that_was_not_as_people_approved_or_against_a_hold_is_wrong(caught, cheat, words):
    caught(Purged(**cheat).bundle(), words)


def test_what_was_on_hold_may_be_purged_when_the_hold_was_lifted(check):
    status, answer = check(Purged(held=True, lifted=True).bundle())
    assert (status, answer["problems"]) == (0, [])


def test_a_hold_that_is_lifted_by_one_person_is_wrong(caught):
    purged = Purged(held=True, lifted=True)
    lone = purged.decide(c.LiftLogHold(purged.held, "over"), "AUDIT.HOLD_LIFTED", {}, ("bob",))
    purged.told.append(lone)
    caught(purged.bundle(), "1 of 2 approvals", ERASURES)


def test_bits_name_the_events_that_they_were_made_of():
    document = bits_of([3, 4, 11])
    assert (document["start"], document["end"], document["count"]) == (3, 12, 3)
    assert hashlib.sha256(document["events"].encode()).hexdigest()
