"""What people sign about tokens: read, held against what stands there, and then done.

A step that takes two people waits, signed once, until the second has signed all of it; it is done
with their signature, in one transaction with its event.
"""

from datetime import timedelta
from uuid import UUID, uuid4

from keyvault import signatures
from keyvault.domain.access import Action, Principal
from keyvault.domain.approvals import CLOCK_LEEWAY
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.errors import (
    InvalidInputError,
    NotPermittedError,
    StatementInvalidError,
    TokenStateError,
)
from keyvault.domain.people import Person, thumbprint
from keyvault.domain.statements import Activate, CertifyKey, Countersigned, Said, Signed
from keyvault.domain.times import time_of
from keyvault.operations import people, taking
from keyvault.operations.steps import Taking, stream_of
from keyvault.operations.vault import Once, Vault, permit, recall, remember
from keyvault.store.tokens import DONE, OPEN, REFUSED, StatementRecord
from keyvault.store.unit_of_work import Reading, Work

WAITS = timedelta(days=7)  # for the second signature


def submit(
    vault: Vault, who: Principal, signed: Signed, once: Once | None = None
) -> StatementRecord:
    """Take a signed statement: it is done, or waits for its second signer.

    Raises `StatementInvalidError` for what does not count, `TokenStateError` for what is not due.
    """
    said = signed.statement.said
    if isinstance(said, CertifyKey):
        raise InvalidInputError("that goes with its request", next_step="keyvault ca certify-key")
    role = permit(vault, who, said.action).role
    with vault.database.work() as work:
        authority = vault.authority(work)
        if earlier := recall(work, who, once):
            return work.tokens.statement(UUID(earlier["statement"]))
        check_first(vault, work, authority, who, signed)
        now = vault.clock()
        step = Taking(work, authority, who, role, signed, now)
        missing = taking.check(step)
        if missing:
            work.commit(taking.refused(step, missing))
            raise TokenStateError("; ".join(missing), next_step="see docs/tokens.md")
        waits = bool(signed.statement.second)
        work.tokens.propose(signed, OPEN if waits else DONE, now, now + WAITS)
        work.tokens.used(signed.statement.credential, now)
        events = [_first(step)] if waits else taking.take(step)
        remember(work, who, once, {"statement": str(signed.statement.id)})
        work.commit(*events)
        return work.tokens.statement(signed.statement.id)


def countersign(
    vault: Vault, who: Principal, statement: UUID, second: Countersigned
) -> StatementRecord:
    """Sign beside the first person; with that the step is done."""
    with vault.database.reading() as work:
        action = work.tokens.statement(statement).signed.statement.said.second
    if action is None:
        raise TokenStateError("this statement takes one signature")
    role = permit(vault, who, action).role
    with vault.database.work() as work:
        authority = vault.authority(work)
        record = _waiting(vault, work, statement)
        _check_second(vault, work, authority, who, record, second)
        now = vault.clock()
        step = Taking(work, authority, who, role, record.signed, now, second)
        missing = taking.check(step)
        if missing:
            raise TokenStateError("; ".join(missing), next_step="see docs/tokens.md")
        work.tokens.settle(statement, DONE, now, second)
        work.tokens.used(second.credential, now)
        work.commit(*taking.take(step))
        return work.tokens.statement(statement)


def refuse(vault: Vault, who: Principal, statement: UUID, reason: str) -> StatementRecord:
    """End a statement that waits: its first or its second signer may."""
    permit(vault, who, Action.TOKEN_OWN)
    with vault.database.work() as work:
        record = work.tokens.statement(statement)
        said = record.signed.statement
        if who.id not in (said.person, said.second):
            raise TokenStateError("only who signed it, or is to sign it, refuses it")
        work.tokens.settle(statement, REFUSED, vault.clock())
        told: Document = {"statement": str(statement), "reason": reason}
        stream = stream_of(said)
        event = AuditEvent(
            EventType.TOKEN_SIGNED, Outcome.REFUSED, uuid4(), stream, who.actor, told
        )
        work.commit(event)
        return work.tokens.statement(statement)


def waiting(vault: Vault, who: Principal) -> list[StatementRecord]:
    """What waits for a second signature: one's own always, others' for who may look."""
    with vault.database.reading() as work:
        found = work.tokens.statements(state=OPEN)
    own = [
        one for one in found if who.id in (one.signed.statement.person, one.signed.statement.second)
    ]
    if len(own) == len(found):
        return own
    permit(vault, who, Action.TOKEN_READ)
    return found


def get(vault: Vault, who: Principal, statement: UUID) -> StatementRecord:
    with vault.database.reading() as work:
        record = work.tokens.statement(statement)
    said = record.signed.statement
    if who.id not in (said.person, said.second):
        permit(vault, who, Action.TOKEN_READ)
    return record


def both_signatures(
    work: Reading, token: UUID, said: type[Said], named: UUID | None = None
) -> tuple[Document, Document]:
    """Both signatures under one statement, or under the last of a kind about a token: for a gate.

    Raises `NotPermittedError` where there is one signature, or none.
    """
    if named is not None:
        found = [work.tokens.statement(named)]
    else:
        found = work.tokens.statements(token=token, state=DONE, step=said.name)
    if not found or found[-1].second is None:
        raise NotPermittedError("the statement takes two signatures")
    return found[-1].signed.document(), found[-1].second.document()


def of_token(vault: Vault, who: Principal, token: UUID) -> list[StatementRecord]:
    """Everything that people signed about a token, oldest first."""
    permit(vault, who, Action.TOKEN_READ)
    with vault.database.reading() as work:
        work.tokens.get(token)
        return work.tokens.statements(token=token)


def check_first(
    vault: Vault, work: Reading, authority: Authority, who: Principal, signed: Signed
) -> None:
    """Raise `StatementInvalidError` unless who calls signed this, just now, about this log."""
    said = signed.statement
    if said.person != who.id or said.origin != authority.origin:
        raise StatementInvalidError("the statement is somebody else's, or of another log")
    _check_fresh(vault, work, said.challenge, said.at)
    spki = _key_of(work, authority, signed)
    good = signatures.verify_possession(spki, signed.signature, said.message())
    if not good:
        raise StatementInvalidError("the signature under the statement is wrong")


def _key_of(work: Reading, authority: Authority, signed: Signed) -> bytes:
    """The key that has to have signed: the token's own where its holder activates it."""
    said = signed.statement
    if isinstance(said.said, Activate) and said.token is not None:
        for _, spki in reversed(work.tokens.keys(said.token)):
            if thumbprint(spki) == said.credential:
                return spki
        raise StatementInvalidError(
            "the token's own key has to sign its activation",
            next_step="put in the token that was delivered",
        )
    return _deciding(work, authority.person(said.person), said.credential)


def _deciding(work: Reading, person: Person, credential: str) -> bytes:
    found = person.decides_with(credential)
    if found is None:
        raise StatementInvalidError(
            f"{person.id} did not sign this with a key that decides for them"
        )
    people.check_live(work, credential)
    return found.spki


def _check_fresh(vault: Vault, work: Reading, challenge: str, at: str) -> None:
    apart = abs(time_of(at) - vault.clock())
    if not people.is_fresh(work, challenge, vault.clock()) or apart > CLOCK_LEEWAY + WAIT:
        raise StatementInvalidError("the statement is not of this time", next_step="sign a new one")


WAIT = people.CHALLENGE_LIFE


def _waiting(vault: Vault, work: Work, statement: UUID) -> StatementRecord:
    record = work.tokens.statement(statement)
    if record.state != OPEN or vault.clock() >= record.expires_at:
        raise TokenStateError(
            "the statement waits for nobody any more", next_step="have it signed anew"
        )
    return record


def _check_second(
    vault: Vault,
    work: Reading,
    authority: Authority,
    who: Principal,
    record: StatementRecord,
    second: Countersigned,
) -> None:
    if who.id != record.signed.statement.second or second.person != who.id:
        raise StatementInvalidError("another person is to sign this as the second")
    _check_fresh(vault, work, second.challenge, second.at)
    spki = _deciding(work, authority.person(second.person), second.credential)
    if not signatures.verify(spki, second.signature, second.message(record.signed)):
        raise StatementInvalidError("the second signature is wrong")


def _first(step: Taking) -> AuditEvent:
    told: Document = {"statement": step.signed.document()}
    return AuditEvent(
        type=EventType.TOKEN_SIGNED,
        outcome=Outcome.OK,
        operation=step.signed.statement.id,
        stream=stream_of(step.signed.statement),
        actor=step.who.actor,
        role=step.role,
        payload=told,
    )
