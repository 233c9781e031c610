"""The house and the verifier were written apart, and judge every chain of authority alike."""

import dataclasses
import json
from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from typing import get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyvault import signatures
from keyvault.domain import commands as c
from keyvault.domain import standing
from keyvault.domain.access import asking, roles_for
from keyvault.domain.approvals import Approval, Decision, Request, Seen
from keyvault.domain.canonical import CanonicalError, canonical
from keyvault.domain.chain import Record
from keyvault.domain.documents import document_of
from keyvault.domain.errors import VaultError
from keyvault.domain.founding import NO_RECORD, Genesis
from keyvault.domain.people import Assurance, Credential, Duty, Grant, Role, Screening
from keyvault.domain.quorum import OWN_RULE, clear
from keyvault.domain.rules import Rule, Standard
from keyvault.domain.scopes import Scope
from keyvault.domain.times import text_of, time_of
from tests.evidence.built import verify
from tests.evidence.chains import (
    SPARE,
    Chain,
    agree,
    anyone,
    fresh,
    moment,
    names,
    steps,
    verified,
    verifiers_word,
    waits,
)
from tests.evidence.people import (
    CLASSES,
    DUTY,
    PEOPLE,
    RULES,
    START,
    grants,
    joiner,
    screening,
)
from tests.evidence.world import World, order
from tests.unit.officers import certificate, changed, places

SLOW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
# Tables that are written twice --------------------------------------------------------------------


def test_the_verifier_knows_every_command_with_its_fields():
    assert set(verify.COMMANDS) == set(c.COMMANDS)
    for name, kind in c.COMMANDS.items():
        assert set(verify.FIELDS[name]) == {field.name for field in dataclasses.fields(kind)}, name
    for name, kind in FORMS.items():
        assert set(verify.FIELDS[name]) == {field.name for field in dataclasses.fields(kind)}, name
    assert set(verify.CHANGES) == {command.name for command in c.AUTHORITY_COMMANDS}


FORMS = {
    "credential": Credential,
    "grant": Grant,
    "screening": Screening,
    "duty": Duty,
    "rule": Rule,
    "key-class": type(CLASSES[0]),
    "standard": Standard,
    "scope": Scope,
    "seen": Seen,
    "approval": Approval,
    "services": get_type_hints(Genesis)["services"],
}


def test_the_verifier_knows_who_may_ask_for_what():
    for name, kind in c.COMMANDS.items():
        assert sorted(verify.ASKING.get(name, [])) == sorted(roles_for(asking(kind))), name


def test_the_verifier_knows_every_role_and_which_are_kept_apart():
    assert [str(role) for role in Role] == verify.ROLES
    apart = {frozenset(map(str, pair)) for pair in standing.CONFLICTS}
    assert apart == verify.APART
    assert document_of(OWN_RULE) == verify.OWN_RULE
    assert {command.name for command in c.PROTECTIVE_COMMANDS} == verify.PROTECTIVE
    assert {command.name for command in c.PERSONAL_COMMANDS} == verify.PERSONAL


# Chains -------------------------------------------------------------------------------------------


@SLOW
@given(st.lists(steps, min_size=1, max_size=10))
def test_any_chain_gets_one_verdict(listed):
    chain = fresh()
    for step in listed:
        chain.add(chain.record(step, chain.asked(step)))


def test_the_made_up_chains_are_not_all_refused():
    """A corpus that only ever fails would show nothing: these kinds of record get through."""
    chain, good = fresh(), 0
    made = [
        joiner("erin", Role.AUDITOR),
        c.SetDuty(replace(DUTY, version=2)),
        *(c.AcknowledgeDuty(name, DUTY.name, 2, DUTY.sha256) for name in chain.world.officers),
        c.HoldPerson("fay", 1, "alarm"),
        c.SuspendPerson("fay", "leave"),
        c.ReinstatePerson("fay", "back"),
        c.RemovePerson("erin", "left"),
    ]
    for command in made:
        good += chain.add(chain.record(plain(command), chain.asked(plain(command))))
    assert good == len(made)


def plain(command):
    """A change that is asked for by the right one and signed by two others, in time."""
    people = {"requester": "alice", "approvers": ("bob", "carol")}
    times = {"before": 60, "between": 60, "shift": 0}
    return {"command": command, **people, **times, "rule": "right", "scope": "right"}


ODD = st.sampled_from(
    [
        *(None, True, False, 0, 1, 2, 3, -1, 2**31, "", " ", "*", "x", "x" * 201, [], {}, "é"),
        *("alice", "bob", "carol", "card", "software", "auditor", "key-approver", "own"),
        *("2026-11-22T09:00:00Z", "2026-11-22T09:00:60Z", "2026-11-22", "2026-1-2", "a\n", "AA=="),
        *("9998-12-31T23:59:59Z", "AAAA", "AAA", "00" * 16, "AB" * 16, "00" * 32, "keys", "site"),
    ]
)
SAMPLES = [
    joiner("erin", Role.AUDITOR),
    joiner("erin", login=Credential(SPARE[0].spki, Assurance.CARD, login_only=True)),
    c.EnrolCredential("dan", Credential(SPARE[0].spki, Assurance.CARD, login_only=True)),
    c.ChangePerson("dan", "Energy", "york", "bob", grants(Role.KEY_APPROVER), "moved"),
    c.ReviewScreening("dan", screening()),
    c.SetRule(replace(RULES[0], approvals=3), "more"),
    c.SetDuty(replace(DUTY, version=2)),
    c.SetKeyClass(replace(CLASSES[0], name="other"), "more"),
    c.SetStandard(Standard("BS 7858", "2019", "2026-01-01", None, "reference")),
    c.SetSpareKey(SPARE[0].spki, "set up"),
    c.EnrolSystem(
        "dcc-1", "A", certificate("a"), certificate("a"), ("key:sign",), ("*",), text_of(moment(1))
    ),
    c.HoldPerson("dan", 5, "alarm"),
    c.AcknowledgeDuty("dan", DUTY.name, 1, DUTY.sha256),
]


@SLOW
@given(st.data(), st.sampled_from(SAMPLES), ODD)
def test_a_request_with_something_odd_in_it_that_its_people_signed_gets_one_verdict(
    data, command, odd
):
    chain = fresh()
    step = {
        "command": command,
        "requester": "alice",
        "approvers": ("bob", "carol"),
        "scope": "right",
    }
    step |= {"before": 60, "between": 60, "shift": 0, "rule": "right"}
    request = chain.asked(step)
    path = data.draw(st.sampled_from(list(places(json.loads(canonical(request.document))))))
    try:
        document = chain.record(step, request, (path, lambda _: odd))
    except CanonicalError:
        return
    chain.add(document)


@SLOW
@given(st.data(), ODD)
def test_a_record_with_something_odd_around_the_request_gets_one_verdict(data, odd):
    chain = fresh()
    step = plain(joiner("erin", Role.AUDITOR))
    document = chain.record(step, chain.asked(step))
    around = [path for path in places(document) if path[0] != "request"]
    chain.add(changed(document, data.draw(st.sampled_from(around)), lambda _: odd))


@SLOW
@given(st.data(), ODD)
def test_a_genesis_with_something_odd_in_it_that_its_officers_signed_gets_one_verdict(data, odd):
    world = World()
    document = json.loads(canonical(world.records[0].request))
    path = data.draw(st.sampled_from(list(places(document))))
    document = changed(document, path, lambda _: odd)
    votes = tuple(world.approval(name, document) for name in world.officers)
    record = Record(0, NO_RECORD, document, votes, text_of(START))
    agree([], None, record.document())


@pytest.mark.parametrize("by", ["decides", "logs in"])
@pytest.mark.parametrize("officer", [False, True], ids=["enrolled later", "at the genesis"])
def test_what_a_key_that_only_logs_in_signs_gets_one_verdict(by, officer):
    login = Credential(SPARE[0].spki, Assurance.CARD, login_only=True)
    chain = Chain(World(described={"dan": {"login": login}})) if officer else fresh()
    if not officer:
        step = plain(c.EnrolCredential("dan", login))
        assert chain.add(chain.record(step, chain.asked(step)))
    step = {**plain(c.SuspendPerson("fay", "leave")), "approvers": ("bob",)}
    request = chain.asked(step)
    record = chain.record(step, request)
    key = SPARE[0] if by == "logs in" else PEOPLE["dan"]
    vote = chain.world.approval("dan", request.document, key=key)
    record["approvals"].append(json.loads(canonical(vote.document())))
    assert chain.add(record) is (by == "decides")


@pytest.mark.parametrize("by", ["decides", "logs in"])
def test_a_genesis_signed_by_a_key_that_only_logs_in_gets_one_verdict(by):
    login = Credential(SPARE[0].spki, Assurance.CARD, login_only=True)
    world = World(described={"dan": {"login": login}})
    document = json.loads(canonical(world.records[0].request))
    keys = {"dan": SPARE[0]} if by == "logs in" else {}
    votes = tuple(world.approval(name, document, key=keys.get(name)) for name in world.officers)
    record = Record(0, NO_RECORD, document, votes, text_of(START))
    assert (agree([], None, record.document()) is not None) is (by == "decides")


@pytest.mark.parametrize("number", range(3))
def test_keys_of_a_joiner_that_do_not_go_together_get_one_verdict(number):
    """The house makes no such command: these are documents that somebody wrote by hand."""
    chain, own = fresh(), document_of(joiner("erin").credential)
    wrong = [
        {"credential": {**own, "login_only": True}},
        {"login": {**own, "spki": b64encode(SPARE[0].spki).decode()}},
        {"login": {**own, "login_only": True}},
    ]
    step = plain(joiner("erin", Role.AUDITOR))
    request = chain.asked(step)
    change = ("parameters",), lambda given: {**given, **wrong[number]}
    assert not chain.add(chain.record(step, request, change))


# Acts on keys -------------------------------------------------------------------------------------


asks = st.fixed_dictionaries(
    {
        "requester": names,
        "approvers": st.lists(anyone, max_size=4),
        "key_class": st.sampled_from(["standard", "critical", "careful"]),
        "rule": st.sampled_from(RULES[:4]),
        "before": waits,
        "between": waits,
        "first": st.sampled_from([*Decision, Decision.APPROVE, Decision.APPROVE]),
    }
)


@SLOW
@given(st.lists(steps, max_size=3), asks)
def test_an_act_on_a_key_gets_one_verdict(listed, ask):
    chain = fresh()
    for step in listed:
        chain.add(chain.record(step, chain.asked(step)))
    command, world = order(key_class=ask["key_class"]), chain.world
    world.now += timedelta(seconds=ask["before"])
    request = world.request(command, rule=ask["rule"], requester=ask["requester"])
    decisions = [ask["first"], *[Decision.APPROVE] * 3]
    votes = [
        chain.vote(name, request.document, decision=decision)
        for name, decision in zip(ask["approvers"], decisions, strict=False)
    ]
    at = world.now + timedelta(seconds=ask["between"])
    house = cleared(chain.authority, request, votes, ask["key_class"], at)
    assert redeemed(chain.documents, request, votes, ask["key_class"], at) == house


def cleared(authority, request, votes, key_class, at):
    broken = request.rule.break_glass
    try:
        rule = authority.rule_in_force(request.command, key_class, break_glass=broken)
        read = [Approval.read(vote.document()) for vote in votes]
        clear(
            authority.electorate, rule, Request.read(request.document), read, signatures.verify, at
        )
    except VaultError:
        return False
    return True


def redeemed(documents, request, votes, key_class, at):
    folded, _ = verifiers_word(documents)
    report, state = verify.Report(), folded.states[-1]
    document = json.loads(canonical(request.document))
    with report.step("act", "events.ndjson"):
        verify.check_request(document, folded.origin, "generate-key")
        verify.need(document["rule"] in verify.rules_for(state, document, [key_class]), "rule")
        moment = (at - time_of("1970-01-01T00:00:00Z")).total_seconds()
        approvals = [json.loads(canonical(vote.document())) for vote in votes]
        verify.Redemption(state, document, moment).check(approvals, report)
    return not report.problems and verified(report)
