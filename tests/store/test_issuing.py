"""Issuing jobs in the database: one at a token, and nobody writes over somebody else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from keyvault.domain.audit import EventType
from keyvault.domain.errors import ConflictError, IssueStateError, KeyStateError, NotFoundError
from keyvault.domain.issuing import IssueJob, IssueStep, Standing
from keyvault.domain.tokens import Token, TokenKind, TokenState
from keyvault.operations.ca import issuing
from keyvault.store.issued import Ca, Issued, Reason, Status
from tests.store.events import new_key, used

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def _token(serial):
    about = ("erin", "safe 1", "seal", "B-1", NOW, NOW)
    return Token(uuid4(), TokenKind.PIV_CARD, serial, "model", TokenState.ALLOCATED, *about)


def _event():
    return used("token:x", "person:erin", EventType.ISSUE_STEP)


def test_a_token_has_one_live_job_and_a_stale_version_changes_nothing(database):
    token = _token("1")
    job = IssueJob(uuid4(), token.id, "piv-card", "erin", NOW, NOW, batch="b")
    with database.work() as work:
        work.tokens.add(token)
        work.issuing.add(job)
        with pytest.raises(IssueStateError, match=str(job.id)):
            work.issuing.add(replace(job, id=uuid4()))
        work.commit(_event())
    bound = job.done(IssueStep.BOUND, serial="1", begun={"secure": 2})
    with database.work() as work:
        work.issuing.change(replace(bound, version=2))
        work.commit(_event())
    with database.work() as work, pytest.raises(ConflictError):
        work.issuing.change(replace(bound, version=2))
    with database.reading() as work:
        kept = work.issuing.get(job.id)
        assert kept == replace(bound, version=2)
        assert work.issuing.of_token(token.id) == kept
        assert work.issuing.page({"standing": "open", "batch": "b"})[0] == [kept]
        assert work.issuing.batch("b") == {"open": 1}


def test_steps_are_taken_in_their_order_and_an_end_is_an_end():
    job = IssueJob(uuid4(), uuid4(), "piv-card", "erin", NOW, NOW)
    with pytest.raises(IssueStateError, match="does not follow"):
        job.done(IssueStep.KEYED)
    ended = job.to(Standing.INTERRUPTED).to(Standing.ABANDONED)
    assert ended.resumes == 1
    for standing in Standing:
        with pytest.raises(IssueStateError, match="does not become"):
            ended.to(standing)


def test_what_a_compromised_authority_reaches_are_its_tokens_each_once_but_the_revoked(database):
    issuer, other, (first, second, gone) = uuid4(), uuid4(), sorted(uuid4() for _ in range(3))
    made = [(issuer, first), (issuer, first), (issuer, second), (issuer, gone), (other, gone)]
    with database.work() as work:
        for number, (by, token) in enumerate(made):
            work.issued.reserve(_issued(number, by, token))
        work.issued.revoke("3", Reason.LOST, NOW)
        work.commit(_event())
    with database.reading() as work:
        assert work.issued.tokens_of(issuer, 5) == ([first, second], 2)
        assert work.issued.tokens_of(issuer, 1) == ([first], 2)


def _issued(number, issuer, token):
    texts = {"job": f"job-{number}", "slot": "9a", "profile": "p", "subject": "s", "reason": ""}
    return Issued(
        serial=str(number),
        issuer=issuer,
        token=token,
        status=Status.INTENT,
        terms=b"",
        certificate=b"",
        spki_sha256="",
        actor="person:alice",
        not_before=NOW,
        not_after=NOW,
        **texts,
    )


def test_an_authority_that_has_ended_issues_nothing_and_no_serial_is_kept_for_it(database):
    made = new_key()
    key, root = made.id, uuid4()
    ended = Ca(key, root, "Old", b"", NOW - timedelta(days=9), NOW - timedelta(days=1))
    with database.work() as work:
        work.keys.add(made)
        work.issued.add_ca(ended, uuid4())
        with pytest.raises(KeyStateError, match="Old ended at 2026-10-31") as refused:
            issuing(work, key, NOW)
        assert "keyvault ca" in refused.value.next_step
        with pytest.raises(NotFoundError, match="no authority of ours issues"):
            issuing(work, None, NOW)
        assert issuing(work, key, NOW - timedelta(days=2)) == ended
        work.commit(_event())
