"""Who remembers callers sees in one row that a certificate may be worth something else by now."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.tokens import Token, TokenKind, TokenState
from keyvault.store import Database

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def event() -> AuditEvent:
    return AuditEvent(EventType.TOKEN_SUSPENDED, Outcome.OK, uuid4(), "token:x", "person:erin")


def test_a_change_of_a_token_moves_the_head_of_callers_once_it_is_committed(database: Database):
    about = ("erin", "safe 1", "seal", "B-1", NOW, NOW)
    token = Token(uuid4(), TokenKind.PIV_CARD, uuid4().hex, "model", TokenState.ACTIVE, *about)
    with database.work() as work:
        before = work.callers.changes()
        work.tokens.add(token)
        work.commit(event())
    with database.work() as work:
        assert work.callers.changes() == before  # nobody knows its key yet
        work.tokens.change(replace(token, state=TokenState.SUSPENDED, version=token.version + 1))
    with database.work() as work:
        assert work.callers.changes() == before  # it was not committed
        work.tokens.change(replace(token, state=TokenState.SUSPENDED, version=token.version + 1))
        work.commit(event())
    with database.reading() as work:
        assert work.callers.changes() == before + 1
