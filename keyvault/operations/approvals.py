"""Dual control as its people meet it: ask, decide, execute, cancel."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from keyvault import signatures
from keyvault.domain.access import Action, Permit, Principal, asking, readable
from keyvault.domain.approvals import (
    Approval,
    ApprovalRequest,
    Decision,
    Request,
    RequestState,
    Seen,
    new_request,
)
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document, Json
from keyvault.domain.chain import rule_of
from keyvault.domain.commands import PERSONAL_COMMANDS, Command, ReviewScreening
from keyvault.domain.errors import (
    ApprovalInvalidError,
    AuthorityError,
    ConflictError,
    NotWitnessedError,
    OutcomeUnknownError,
    QuorumError,
    RequestStateError,
)
from keyvault.domain.quorum import check_approval, check_requester, clear, shortfall, where_of
from keyvault.domain.rules import Rule
from keyvault.domain.scopes import Scope
from keyvault.domain.standing import Reach
from keyvault.domain.times import text_of
from keyvault.operations import executors, witnesses
from keyvault.operations.acts.base import Acting, Asking
from keyvault.operations.vault import Once, Vault, permit, recall, remember, request_stream
from keyvault.store.authority import SHORT
from keyvault.store.unit_of_work import Work


@dataclass(frozen=True, slots=True)
class Executed:
    """A request that was carried out, and what came of it."""

    request: ApprovalRequest
    outcome: Document


def ask(
    vault: Vault,
    who: Principal,
    command: Command,
    scope: Scope | None,
    once: Once | None = None,
    *,
    break_glass: bool = False,
) -> ApprovalRequest:
    """Ask for an act that needs approvals. Nothing happens but a record and an event.

    To break the glass is to ask under the rule that takes more people and waits for nobody.
    Raises `VaultError` where it is clear already that the act could never be done.
    """
    with vault.database.reading() as work:
        scope = executors.scope_of(work, vault.authority(work), command, scope)
    permitted = _permit_asking(vault, who, command, scope)
    with vault.database.work() as work:
        if earlier := recall(work, who, once):
            return work.requests.get(UUID(earlier["request"]))
        authority = vault.authority(work)
        key_class = executors.check(Asking(work, authority, scope, vault.clock()), command)
        rule = authority.rule_in_force(command, key_class, break_glass=break_glass)
        request = _request(vault, work, rule, command, who, scope)
        check_requester(authority.electorate, request)
        asked = ApprovalRequest(request, RequestState.REQUESTED, version=1)
        work.requests.add(asked)
        remember(work, who, once, {"request": str(asked.request.id)})
        work.commit(*_asked(request, who.actor, permitted.role))
        return asked


def _asked(request: Request, actor: str, role: str) -> list[AuditEvent]:
    asked = _event(EventType.APPROVAL_REQUESTED, request, actor, role)
    return [asked, *executors.ordered(request, actor, role)]


def _permit_asking(vault: Vault, who: Principal, command: Command, scope: Scope | None) -> Permit:
    review = isinstance(command, ReviewScreening)
    return permit(vault, who, asking(type(command)), where=scope or Reach.ALL, review=review)


def _permit(vault: Vault, who: Principal, action: Action, request_id: UUID) -> Permit:
    with vault.database.reading() as work:
        request = work.requests.get(request_id).request
    command = request.command
    if isinstance(command, PERSONAL_COMMANDS) and request.requester == who.id:
        return permit(vault, who, asking(type(command)))  # their own word, whatever has lapsed
    review = isinstance(command, ReviewScreening)
    return permit(vault, who, action, where=where_of(request), review=review)


def _request(
    vault: Vault,
    work: Work,
    rule: Rule,
    command: Command,
    who: Principal,
    scope: Scope | None,
) -> Request:
    tree = work.audit.head()
    return new_request(
        request_id=uuid4(),
        origin=vault.settings.origin,
        command=command,
        scope=scope,
        rule=rule,
        requester=who.id,
        now=vault.clock(),
        nonce=secrets.token_bytes(16),
        seen=Seen(tree.size, tree.root.hex()),
    )


def get(vault: Vault, who: Principal, request_id: UUID) -> ApprovalRequest:
    """Raises `NotFoundError`."""
    _permit(vault, who, Action.REQUEST_READ, request_id)
    with vault.database.reading() as work:
        return executors.as_told(work, request_id)


def page(
    vault: Vault,
    who: Principal,
    state: RequestState | None = None,
    after: str | None = None,
    limit: int = 50,
) -> tuple[list[ApprovalRequest], str | None]:
    """List requests, newest first, and the cursor of the next page: those of the caller's scopes.

    What concerns every scope is listed for those whose roles reach as far.
    """
    permit(vault, who, Action.REQUEST_READ)
    scopes = readable(who, Action.REQUEST_READ, vault.clock())
    with vault.database.reading() as work:
        return work.requests.page(state=state, scopes=scopes, after=after, limit=limit)


def decide(
    vault: Vault, who: Principal, request_id: UUID, document: Document, once: Once | None = None
) -> ApprovalRequest:
    """Take in a signed approval or refusal. One that does not count is an event and an error."""
    permitted = _permit(vault, who, Action.REQUEST_DECIDE, request_id)
    noes = _Noes(vault, who, permitted.role, request_id, EventType.APPROVAL_REJECTED)
    with noes.told(approval=document), vault.database.work() as work:
        approval = Approval.read(document)
        asked = executors.as_told(work, request_id)
        if recall(work, who, once):
            return asked
        _check_open(vault, work, asked, who, permitted.role)
        enough = _check(vault, work, asked, approval)
        work.requests.add_approval(request_id, approval)
        work.tokens.used(approval.credential, vault.clock())
        decided = _moved(asked, approval, enough=enough)
        work.requests.change(decided)
        remember(work, who, once, {"request": str(request_id)})
        kind = _DECIDED[approval.decision]
        payload = {"approval": approval.document(), "state": str(decided.state)}
        work.commit(_event(kind, asked.request, who.actor, permitted.role, payload))
        return decided


_DECIDED = {
    Decision.APPROVE: EventType.APPROVAL_GIVEN,
    Decision.REFUSE: EventType.APPROVAL_REFUSED,
}


def _check_open(
    vault: Vault, work: Work, asked: ApprovalRequest, who: Principal, role: str
) -> None:
    """Raise `RequestStateError` unless it is open. The first who comes too late writes it down."""
    if asked.state not in (RequestState.REQUESTED, RequestState.APPROVED):
        raise RequestStateError(
            f"the request is {asked.state}", next_step="ask again if it is needed"
        )
    if vault.clock() > asked.request.expires_at:
        work.requests.change(asked.to(RequestState.EXPIRED))
        payload: Document = {"expires_at": text_of(asked.request.expires_at)}
        work.commit(_event(EventType.APPROVAL_EXPIRED, asked.request, who.actor, role, payload))
        raise RequestStateError("the request has expired", next_step="ask again")


def _check(vault: Vault, work: Work, asked: ApprovalRequest, approval: Approval) -> bool:
    """Return whether with this approval there are enough."""
    electorate = vault.authority(work).electorate
    check_approval(electorate, asked.request, approval, signatures.verify, vault.clock())
    if work.tokens.stopped(approval.credential) or work.issued.is_revoked(approval.credential):
        raise ApprovalInvalidError(
            f"the token that {approval.approver} signed with is stopped or revoked",
            next_step="sign with another enrolled key",
        )
    if any(approval.approver == earlier.approver for earlier in asked.approvals):
        raise ConflictError(f"{approval.approver} has decided on this request already")
    seen, head = approval.seen, work.audit.head()
    if seen.size > head.size or head.at(seen.size, work.audit.hashes()).root.hex() != seen.root:
        raise ApprovalInvalidError(
            f"{approval.approver} saw another log than this one",
            next_step="compare checkpoints: somebody may have rolled the log back",
        )
    names = {approval.approver, *(earlier.approver for earlier in asked.approvals)}
    said_yes = [electorate.people[name] for name in names if name in electorate.people]
    return shortfall(asked.request, said_yes) is None


def _moved(asked: ApprovalRequest, approval: Approval, *, enough: bool) -> ApprovalRequest:
    given = asked.with_approval(approval)
    if approval.decision is Decision.REFUSE:
        return given.to(RequestState.REFUSED)
    if enough and asked.state is RequestState.REQUESTED:
        return given.to(RequestState.APPROVED)
    return replace(given, version=asked.version + 1)


def execute(vault: Vault, who: Principal, request_id: UUID, once: Once | None = None) -> Executed:
    """Carry out an approved request: intent committed, then the device, then the outcome.

    Raises `QuorumError` while approvals are missing, `OutcomeUnknownError` if the device was cut
    off: `reconcile` settles it then.
    """
    permitted = _permit(vault, who, Action.REQUEST_EXECUTE, request_id)
    witnesses.hold_request(vault, request_id)
    noes = _Noes(vault, who, permitted.role, request_id, EventType.EXECUTION_REFUSED)
    with noes.told(), vault.database.work() as work:
        asked = executors.as_told(work, request_id)
        if earlier := _earlier(work, who, once, asked):
            return Executed(asked, earlier)
        _check_open(vault, work, asked, who, permitted.role)
        authority = _cleared(vault, work, asked)
        acting = Acting(vault, who.actor, permitted.role, asked.to(RequestState.EXECUTING))
        if not executors.needs_device(asked.request.command):
            executed = _at_once(acting, work, who, once, authority)
        else:
            work.requests.change(acting.asked)
            _check_unchanged(work, authority)
            remember(work, who, once, None)
            intent = work.commit(executors.intent(acting))[0]
    if executors.needs_device(asked.request.command):
        _hold_intent(acting, intent.index)
        return _carried_out(acting, who, once)
    if executors.goes_on(executed.outcome):
        return execute(vault, who, request_id, once)  # everything is looked at anew
    executors.tell_gate(vault)
    return executed


def _at_once(
    acting: Acting, work: Work, who: Principal, once: Once | None, authority: Authority
) -> Executed:
    """Do what takes the database alone, or the next portion of it, in this transaction."""
    outcome = executors.settle(acting, work, {})
    _check_unchanged(work, authority)
    remember(work, who, None if executors.goes_on(outcome) else once, outcome)
    done = work.requests.get(acting.id)
    work.commit(*executors.done(acting, outcome))
    return Executed(done, outcome)


def _hold_intent(acting: Acting, index: int) -> None:
    """Wait for witnesses where the act must; without them it ends here, and nothing was done."""
    try:
        witnesses.hold(acting.vault, acting.command, index, "ask again")
    except NotWitnessedError as error:
        with acting.vault.database.work() as work:
            executors.void(acting, work, error.code, str(error))
        raise


def _carried_out(acting: Acting, who: Principal, once: Once | None) -> Executed:
    made = executors.act(acting)
    with acting.vault.database.work() as work:
        outcome, events = executors.concluded(acting, work, made)
        remember(work, who, once, outcome)
        done = work.requests.get(acting.asked.request.id)
        work.commit(*events)
    executors.follow(acting)
    return Executed(done, {**outcome, **executors.answer(made)})


def _earlier(
    work: Work, who: Principal, once: Once | None, asked: ApprovalRequest
) -> Document | None:
    """The outcome of an earlier call; of one that was cut off, what reconciling made of it."""
    try:
        return recall(work, who, once)
    except OutcomeUnknownError:
        if asked.state is RequestState.EXECUTING:
            raise
        return executors.logged(work, asked)


def _cleared(vault: Vault, work: Work, asked: ApprovalRequest) -> Authority:
    """Return the authority under which the request may be carried out now."""
    authority, request = vault.authority(work), asked.request
    wanted = Asking(work, authority, request.scope, vault.clock())
    key_class = executors.check(wanted, request.command)
    rule = rule_of(authority, request, key_class)
    clear(authority.electorate, rule, request, asked.approvals, signatures.verify, vault.clock())
    return authority


def _check_unchanged(work: Work, authority: Authority) -> None:
    """From here on nobody else commits: who was removed meanwhile does not count."""
    if work.log.lock().authority != authority.head[:SHORT]:
        raise ConflictError("authority changed meanwhile", next_step="try again")


def cancel(
    vault: Vault, who: Principal, request_id: UUID, reason: str, once: Once | None = None
) -> ApprovalRequest:
    """Withdraw a request that is not under way yet."""
    permitted = _permit(vault, who, Action.REQUEST_CANCEL, request_id)
    with vault.database.work() as work:
        asked = work.requests.get(request_id)
        if recall(work, who, once):
            return asked
        _check_open(vault, work, asked, who, permitted.role)
        cancelled = asked.to(RequestState.CANCELLED)
        work.requests.change(cancelled)
        remember(work, who, once, {"request": str(request_id)})
        payload: Document = {"reason": reason}
        work.commit(
            _event(EventType.APPROVAL_CANCELLED, asked.request, who.actor, permitted.role, payload)
        )
        return cancelled


@dataclass(frozen=True, slots=True)
class _Noes:
    """Makes an event of each no, in a transaction of its own: what was refused is rolled back."""

    vault: Vault
    who: Principal
    role: str
    request_id: UUID
    kind: EventType

    @contextmanager
    def told(self, **about: Json) -> Iterator[None]:
        try:
            yield
        except (QuorumError, RequestStateError, ConflictError, AuthorityError) as error:
            payload: Document = {**about, "code": error.code, "reason": str(error)}
            with self.vault.database.work() as work:
                request = work.requests.get(self.request_id).request
                told = self.who.actor, self.role, payload, Outcome.REFUSED
                work.commit(_event(self.kind, request, *told))
            raise


def _event(
    kind: EventType,
    request: Request,
    actor: str,
    role: str,
    payload: Document | None = None,
    outcome: Outcome = Outcome.OK,
) -> AuditEvent:
    return AuditEvent(
        type=kind,
        outcome=outcome,
        operation=request.id,
        stream=request_stream(request.id),
        actor=actor,
        role=role,
        scope=request.scope,
        payload={"request": request.document} if payload is None else payload,
    )
