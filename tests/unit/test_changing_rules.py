"""Changing what others rely on: a rule needs the old rule, and leavers leave enough behind."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.domain.commands import (
    ChangePerson,
    HoldPerson,
    RemovePerson,
    RemoveRule,
    ReviewScreening,
    RevokeCredential,
    SetRule,
    SuspendPerson,
)
from keyvault.domain.errors import (
    AuthorityError,
    QuorumError,
    RequestStateError,
    RuleError,
)
from keyvault.domain.linting import lint_rule
from keyvault.domain.people import Role
from tests.unit.officers import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    OFFICERS,
    RULE,
    after,
    founded,
    grants,
    officer,
    screening,
)
from tests.unit.quorate import ERIN, FRANK, like

_ROLES = (Role.KEY_APPROVER, Role.REGISTRAR)

# Changing a rule ---------------------------------------------------------------------------

GRAVE = replace(RULE, id="grave", commands=("destroy-key",), approvals=3)
LOWER = SetRule(replace(GRAVE, approvals=2), "too slow")
NARROWER = SetRule(replace(GRAVE, commands=("export-key",)), "something else")


@pytest.mark.parametrize(
    "command", [LOWER, NARROWER, RemoveRule("grave", "too slow")], ids=["less", "else", "gone"]
)
def test_changing_a_rule_needs_the_rule_that_is_changed(command):
    authority = founded(rules=(RULE, GRAVE))
    assert authority.rule_in_force(command).approvals == 3
    with pytest.raises(QuorumError, match="2 of 3"):
        after(authority, command, (BOB, CAROL))
    with pytest.raises(AuthorityError, match="rule changed"):
        after(authority, command, (BOB, CAROL), rule=RULE)
    changed = after(authority, command, (BOB, CAROL, DAVE))
    assert changed.rule_for("destroy-key").approvals == 2


def test_changing_a_rule_waits_as_long_as_the_rule_does():
    slow = replace(RULE, id="slow", commands=("destroy-key",), wait=3_600, expires_after=7_200)
    authority = founded(rules=(replace(RULE, expires_after=7_200), slow))
    quick = SetRule(replace(slow, wait=0), "too slow")
    with pytest.raises(RequestStateError, match="carried out from"):
        after(authority, quick)


def test_a_new_rule_takes_nothing_from_the_old_ones():
    authority = founded(rules=(RULE, GRAVE))
    weaker = SetRule(replace(RULE, id="kind", commands=("destroy-key",)), "to be kind")
    assert after(authority, weaker).rule_for("destroy-key") == GRAVE


@settings(deadline=None, max_examples=25)  # every step signs and founds anew
@given(st.permutations([(2, "a"), (3, "a"), (4, "a"), (2, "b"), (3, "b")]), st.integers(2, 5))
def test_no_chain_lowers_a_quorum_without_meeting_the_quorum_before(steps, signing):
    everybody = (*OFFICERS, ERIN, FRANK)
    authority = founded(everybody)
    for approvals, name in steps:
        before = authority.rule_for("destroy-key")
        rule = replace(RULE, id=name, commands=("destroy-key",), approvals=approvals)
        try:
            authority = after(authority, SetRule(rule, "as decided"), everybody[1 : 1 + signing])
        except (QuorumError, RuleError):
            continue
        if authority.rule_for("destroy-key").approvals < before.approvals:
            assert signing >= before.approvals


# Who leaves --------------------------------------------------------------------------------


def test_nobody_leaves_while_nobody_could_be_registered_in_their_place():
    three = founded((ALICE, BOB, CAROL))
    for command in (
        RemovePerson("alice", "left"),
        SuspendPerson("alice", "suspected"),
        RevokeCredential("alice", ALICE.thumbprint, "lost"),
    ):
        with pytest.raises(RuleError, match="nobody could be registered any more") as refusal:
            after(three, command, (BOB, CAROL), requester="alice")
        assert refusal.value.next_step == (
            "register a successor first; until then: keyvault people hold"
        )
    assert after(three, HoldPerson("alice", 72, "left"), (BOB, CAROL)).size == 2


def test_the_last_registrar_leaves_only_after_a_successor_came():
    plain = [like(who, grants=grants(Role.KEY_APPROVER)) for who in (BOB, CAROL, DAVE, ERIN)]
    authority = founded((ALICE, *plain))
    leave = RemovePerson("alice", "left")
    with pytest.raises(RuleError, match="nobody could be registered"):
        after(authority, leave)
    authority = after(authority, like(FRANK, grants=grants(Role.REGISTRAR)).joining)
    assert "alice" not in after(authority, leave).people


def test_a_registrar_without_a_key_registers_nobody():
    plain = [like(who, grants=grants(Role.KEY_APPROVER)) for who in (BOB, CAROL, DAVE, ERIN)]
    authority = founded((ALICE, *plain))
    with pytest.raises(RuleError, match="nobody could be registered"):
        after(authority, RevokeCredential("alice", ALICE.thumbprint, "lost"))


def test_what_losses_broke_does_not_stand_in_the_way_of_mending_it():
    """Four of six becomes four of three: reviews, duties and successors go on all the same."""
    grave = replace(GRAVE, approvals=4)
    authority = founded((*OFFICERS, ERIN, FRANK), rules=(RULE, grave))
    for name in ("dave", "erin", "frank"):
        authority = after(authority, RemovePerson(name, "left"))
    with pytest.raises(RuleError, match="4 of 3"):
        lint_rule(authority, grave)
    authority = after(authority, ReviewScreening("alice", screening()))
    for name in ("dora", "edna"):
        authority = after(authority, officer(name).joining)
    lint_rule(authority, grave)


def test_a_rule_that_was_sound_is_not_broken_by_a_move():
    authority = founded(rules=(RULE, GRAVE))
    move = ChangePerson("dave", "o", "s", None, grants(Role.WITNESS), "moved")
    with pytest.raises(RuleError, match="grave asks for 3 of 3"):
        after(authority, move)
