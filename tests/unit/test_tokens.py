"""Tokens: every arrow and no other, one name at any time, and statements that say one thing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.domain.access import OWN_ACTIONS, Action, roles_for
from keyvault.domain.errors import NotFoundError, StatementInvalidError, TokenStateError
from keyvault.domain.statements import KINDS, Destroy, HandOver, Nominate, Signed, Statement
from keyvault.domain.tokens import (
    DORMANT_AFTER,
    MOVES,
    RENEW_BEFORE,
    STOPPED,
    By,
    Concern,
    Custody,
    Limits,
    Step,
    Token,
    TokenKind,
    TokenState,
    concerns,
    had,
)

ID = UUID(int=7)
NOW = datetime(2026, 11, 22, 15, tzinfo=UTC)
TOKEN = Token(
    ID, TokenKind.PIV_CARD, "1234", "PIV-A", TokenState.STOCK, "ivan", "safe", "", "", NOW, NOW
)
HASH = "ab" * 32


@pytest.mark.parametrize(("state", "step"), list(product(TokenState, Step)))
def test_a_step_is_taken_where_the_table_has_it_and_nowhere_else(state, step):
    token = replace(TOKEN, state=state)
    if state in MOVES[step].sources:
        after = token.take(step, NOW)
        assert (after.state, after.version) == (MOVES[step].target, token.version + 1)
    else:
        with pytest.raises(TokenStateError):
            token.take(step, NOW)


def test_every_state_is_reached_and_only_destroyed_ones_stay_as_they_are():
    reached = {move.target for move in MOVES.values()} | {TokenState.STOCK}
    left = {state for move in MOVES.values() for state in move.sources}
    assert reached == set(TokenState)
    assert set(TokenState) - left == {TokenState.DESTROYED}


def test_what_is_signed_is_signed_by_those_whom_the_table_names():
    by_step = {kind.step: kind for kind in KINDS.values() if kind.step}
    for step, move in MOVES.items():
        assert (step in by_step) is (move.how is By.STATEMENT)
        if step in by_step:
            assert (by_step[step].action, by_step[step].second) == (move.action, move.second)


def test_everybody_may_report_a_loss_and_nobody_vets_what_they_issue():
    assert MOVES[Step.REPORT_LOST].action in OWN_ACTIONS
    assert not set(roles_for(Action.TOKEN_VET)) & set(roles_for(Action.TOKEN_ISSUE))
    assert not set(roles_for(Action.TOKEN_VET)) & set(roles_for(Action.TOKEN_NOMINATE))


def test_a_token_that_is_lost_never_comes_back_to_life():
    seen, open_ = set(), {TokenState.LOST_STOLEN}
    while open_:
        seen |= open_
        open_ = {m.target for m in MOVES.values() if m.sources & open_} - seen
    assert TokenState.ACTIVE not in seen
    assert seen <= STOPPED


def ledger(hands):
    at, entries = NOW, []
    for number, (giver, taker, seconds) in enumerate(hands, 1):
        at += timedelta(seconds=seconds)
        entries.append(Custody(ID, number, giver, taker, at, "safe", "", ""))
    return entries


HANDS = st.lists(
    st.tuples(st.text(min_size=1), st.text(min_size=1), st.integers(0, 5)), min_size=1, max_size=12
)


@given(HANDS, st.integers(0, 70))
def test_at_any_time_exactly_one_person_has_a_token(hands, seconds):
    entries, at = ledger(hands), NOW + timedelta(seconds=seconds)
    before = [entry.taker for entry in entries if entry.at <= at]
    if not before:
        with pytest.raises(NotFoundError):
            had(entries, at)
        return
    assert had(entries, at) == before[-1]
    for earlier, later in pairwise(entries):
        if earlier.at < later.at:
            assert had(entries, later.at - timedelta(microseconds=1)) == earlier.taker


def test_what_needs_somebody_to_look_is_told():
    active = replace(TOKEN, state=TokenState.ACTIVE, changed_at=NOW, expires_at=NOW + RENEW_BEFORE)
    assert concerns(active, NOW) == [Concern.ENDING]
    assert concerns(active, NOW + DORMANT_AFTER) == [Concern.ENDING, Concern.DORMANT]
    sent = replace(TOKEN, state=TokenState.IN_TRANSIT, due_at=NOW)
    assert concerns(sent, NOW) == [Concern.LATE]
    given_out = replace(TOKEN, state=TokenState.DELIVERED, changed_at=NOW)
    assert concerns(given_out, NOW + DORMANT_AFTER) == [Concern.NOT_ACTIVATED]


def test_a_token_sleeps_while_nobody_uses_it_whatever_else_is_changed():
    token = replace(TOKEN, state=TokenState.ACTIVE, used_at=NOW, expires_at=NOW + 9 * RENEW_BEFORE)
    later = NOW + timedelta(days=30)
    changed = replace(token, changed_at=later)
    assert concerns(changed, later) == []
    assert concerns(changed, later, Limits(dormant=timedelta(days=30))) == [Concern.DORMANT]
    assert concerns(replace(changed, used_at=later), later, Limits(dormant=timedelta(1))) == []
    assert concerns(token, NOW, Limits(ending=timedelta(days=900))) == [Concern.ENDING]


def said(what, token=ID, second=""):
    return Statement(
        *(ID, "log.example/kv/1", what, token, 1, "ivan", HASH, second, f"1:{HASH}"),
        "2026-11-22T15:00:00Z",
    )


def test_a_statement_reads_back_as_it_was_written():
    statement = said(Destroy("cut", "Leeds", HASH), second="wendy")
    assert Statement.read(statement.document()) == statement
    signed = Signed(statement, b"\x30\x00")
    assert Signed.read(signed.document()) == signed


@pytest.mark.parametrize(
    "change", [{"step": "other"}, {"more": 1}, {"token": None}, {"second": None}]
)
def test_a_statement_with_anything_else_in_it_is_refused(change):
    document = said(HandOver("wendy", "safe", "S"), second="wendy").document() | change
    with pytest.raises(StatementInvalidError):
        Statement.read(document)


def test_nobody_signs_beside_themselves_or_is_forgotten_as_the_second():
    for what, token, second in (
        (HandOver("wendy", "safe", "S"), ID, "ivan"),
        (HandOver("wendy", "safe", "S"), ID, ""),
        (Nominate("erin", "aro", "default", "why"), None, "wendy"),
        (Nominate("erin", "aro", "default", "why"), ID, ""),
    ):
        with pytest.raises(Exception, match=r"sign|about"):
            said(what, token, second)
