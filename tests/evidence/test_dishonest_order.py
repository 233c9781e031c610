"""A log that lies about order, time and authority, and signs its lies."""

from dataclasses import replace
from datetime import timedelta

import pytest

from keyvault.domain import commands as c
from keyvault.domain.approvals import Seen
from keyvault.domain.audit import EventType
from keyvault.domain.chain import Record
from keyvault.domain.people import Role
from keyvault.domain.times import text_of
from tests.evidence.people import KEYS, PEOPLE, RULES, joiner
from tests.evidence.world import World, cheated, order

EVENTS = "events.ndjson"


@pytest.fixture
def world():
    return World()


@pytest.fixture
def key(world):
    return world.generate()


def expect(caught, world, words, index=None):
    caught(world.bundle(), words, EVENTS, len(world.leaves) - 1 if index is None else index)


# The order of things ----------------------------------------------------------------------------


@pytest.mark.parametrize("counter", ["ks", "as", "ns"])
def test_a_dropped_event_leaves_a_gap_in_every_counter(caught, world, key, counter):
    for _ in range(3):
        world.event(EventType.AUDIT_QUERIED, {"n": 1}, stream=f"key:{key}")
    world.event(EventType.AUDIT_QUERIED, {"n": 1}, stream="log", header={counter: 99})
    expect(caught, world, "an event is missing")


def test_a_whole_event_cut_out_before_sealing_is_noticed(caught, world, key):
    world.act(c.ActivateKey(key, "go"))
    world.use(key)
    world.use(key)
    del world.leaves[-2]
    expect(caught, world, "an event is missing")


def test_a_clock_set_back_by_over_a_minute_is_noticed(caught, world):
    world.event(EventType.AUDIT_QUERIED, {"n": 1})
    world.now -= timedelta(seconds=90)
    world.event(EventType.AUDIT_QUERIED, {"n": 2})
    expect(caught, world, "time runs backwards by over a minute")


def test_a_header_with_a_field_that_nobody_knows_is_refused(caught, world):
    world.event(EventType.AUDIT_QUERIED, {"n": 1}, header={"zz": 1})
    expect(caught, world, "header does not have its fields")


def test_an_event_that_saw_another_checkpoint_shows_that_history_was_rewritten(caught, world):
    world.seal()
    world.event(EventType.AUDIT_QUERIED, {"n": 1})
    world.leaves[0] = cheated(world.leaves[0], {"bo": "boot-2"})
    expect(caught, world, "history was rewritten", 1)


def test_an_approver_who_saw_another_log_shows_that_history_was_rewritten(caught, world):
    request = world.request(order())
    votes = [
        world.approval("bob", request.document),
        world.approval("carol", request.document, seen=Seen(1, "ab" * 32)),
    ]
    world.act(order(), request=request, approvals=votes)
    expect(caught, world, "history was rewritten")


def test_nobody_saw_a_log_that_was_not_yet(caught, world):
    request = world.request(order())
    votes = [
        world.approval("bob", request.document),
        world.approval("carol", request.document, seen=Seen(500, "ab" * 32)),
    ]
    world.act(order(), request=request, approvals=votes)
    expect(caught, world, "a state of the log that was not yet")


# Authority and its events -------------------------------------------------------------------------


def test_a_change_of_authority_that_is_not_in_the_chain_is_refused(caught, world):
    world.change(c.RemovePerson("dan", "left"), approvers=("bob", "carol"))
    world.records.pop()
    expect(caught, world, "is not the next record of authority.ndjson")


def test_an_event_that_shows_another_record_than_the_chain_is_refused(caught, world):
    request = world.request(joiner("erin", Role.AUDITOR))
    votes = tuple(world.approval(name, request.document) for name in ("bob", "carol", "dan"))
    head, at = world.records[0].hash, text_of(world.now)
    world.add_record(Record(1, head, request.document, votes, at))
    world.records[1] = Record(1, head, request.document, votes[:2], at)
    expect(caught, world, "is not the next record of authority.ndjson")


def test_a_record_of_authority_without_its_event_is_noticed(caught, world):
    world.change(joiner("erin", Role.AUDITOR))
    world.leaves.pop()
    world.counters = dict.fromkeys(world.counters, 1)
    world.event(EventType.AUDIT_QUERIED, {"n": 1}, actor="service:x", header={"ns": 1})
    expect(caught, world, "an authority that is not the one in force")


def test_an_act_under_an_authority_that_was_over_is_refused(caught, world):
    stale = world.records[0].hash[:16]
    world.change(joiner("erin", Role.AUDITOR))
    world.event(EventType.AUDIT_QUERIED, {"n": 1}, header={"pv": stale})
    expect(caught, world, "an authority that is not the one in force")


def test_an_authority_that_nobody_signed_is_refused(caught, world):
    world.event(EventType.AUDIT_QUERIED, {"n": 1}, header={"pv": "ab" * 8})
    expect(caught, world, "an authority that is not in authority.ndjson")


def test_a_person_registered_with_anothers_key_is_refused(caught, world):
    twin = replace(joiner("erin"), credential=joiner("bob").credential)
    world.change(twin)
    caught(world.bundle(), "this key is enrolled already", "authority.ndjson", 1)


def test_one_man_with_two_names_cannot_found_a_log(caught, monkeypatch):
    monkeypatch.setitem(PEOPLE, "dan", PEOPLE["carol"])
    caught(World().bundle(), "two officers are one", "authority.ndjson")


def test_a_genesis_whose_rule_nobody_can_refuse_is_refused(caught):
    weak = (replace(KEYS, approvals=1), *RULES[1:])
    caught(World(rules=weak).bundle(), "asks for fewer than 2", "authority.ndjson", 0)
    caught(World(officers=("alice", "bob")).bundle(), "too few holders", "authority.ndjson", 0)


def test_an_act_that_is_no_change_of_authority_is_refused_in_the_chain(caught):
    command = order()
    world = World()
    world.change(command, request=world.request(command, rule=KEYS))
    caught(world.bundle(), "generate-key does not change authority", "authority.ndjson", 1)
