"""Dual control as its people meet it: ask, decide, execute, cancel."""

import secrets
from dataclasses import dataclass
from uuid import UUID, uuid4

from keyvault import signatures
from keyvault.domain.access import Action, Principal
from keyvault.domain.approvals import (
    Approval,
    ApprovalRequest,
    Decision,
    Request,
    RequestState,
    Rule,
    Seen,
    check_approval,
    clear,
    new_request,
)
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.commands import AUTHORITY_COMMANDS, Command, GenerateKey, ImportKey
from keyvault.domain.errors import ApprovalInvalidError, ConflictError, RequestStateError
from keyvault.domain.scopes import Scope
from keyvault.operations import executors
from keyvault.operations.vault import Once, Vault, permit, recall, remember, request_stream
from keyvault.store.unit_of_work import Work


@dataclass(frozen=True, slots=True)
class Executed:
    """A request that was carried out, and what came of it."""

    request: ApprovalRequest
    outcome: Document


def ask(
    vault: Vault, who: Principal, command: Command, scope: Scope | None, once: Once | None = None
) -> ApprovalRequest:
    """Ask for an act that needs approvals. Nothing happens but a record and an event.

    Raises `VaultError` where it is clear already that the act could never be done.
    """
    action = _ASKING.get(type(command), Action.KEY_CHANGE)
    permitted = permit(vault, who, action)
    with vault.database.work() as work:
        if earlier := recall(work, who, once):
            return work.requests.get(UUID(earlier["request"]))
        authority = vault.authority(work)
        key_class = executors.check(work, authority, command)
        scope = executors.scope_of(work, command, scope)
        asked = ApprovalRequest(
            _request(vault, work, authority.rule_for(command.name, key_class), command, who, scope),
            RequestState.REQUESTED,
            version=1,
        )
        work.requests.add(asked)
        remember(work, who, once, {"request": str(asked.request.id)})
        work.commit(_event(EventType.APPROVAL_REQUESTED, asked.request, who.actor, permitted.role))
        return asked


_ASKING = {
    GenerateKey: Action.KEY_ORDER,
    ImportKey: Action.KEY_ORDER,
    **dict.fromkeys(AUTHORITY_COMMANDS, Action.PEOPLE_CHANGE),
}


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
    permit(vault, who, Action.REQUEST_READ)
    with vault.database.reading() as work:
        return work.requests.get(request_id)


def page(
    vault: Vault,
    who: Principal,
    state: RequestState | None = None,
    after: str | None = None,
    limit: int = 50,
) -> tuple[list[ApprovalRequest], str | None]:
    """List requests, newest first, and the cursor of the next page."""
    permit(vault, who, Action.REQUEST_READ)
    with vault.database.reading() as work:
        return work.requests.page(state=state, after=after, limit=limit)


def decide(
    vault: Vault, who: Principal, request_id: UUID, document: Document, once: Once | None = None
) -> ApprovalRequest:
    """Take in a signed approval or refusal. One that does not count is an event and an error."""
    permitted = permit(vault, who, Action.REQUEST_DECIDE)
    approval = Approval.read(document)
    with vault.database.work() as work:
        asked = work.requests.get(request_id)
        if recall(work, who, once):
            return asked
        try:
            _check(vault, work, asked, approval)
        except (ApprovalInvalidError, ConflictError) as error:
            work.commit(_rejected(asked, who, permitted.role, approval, str(error)))
            raise
        work.requests.add_approval(request_id, approval)
        decided = _moved(asked, approval)
        work.requests.change(decided)
        remember(work, who, once, {"request": str(request_id)})
        kind = _DECIDED[approval.decision]
        payload = {"approval": approval.document(), "state": str(decided.state)}
        work.commit(_event(kind, asked.request, who.actor, permitted.role, payload))
        return work.requests.get(request_id)


_DECIDED = {
    Decision.APPROVE: EventType.APPROVAL_GIVEN,
    Decision.REFUSE: EventType.APPROVAL_REFUSED,
}


def _check(vault: Vault, work: Work, asked: ApprovalRequest, approval: Approval) -> None:
    open_states = (RequestState.REQUESTED, RequestState.APPROVED)
    if asked.state not in open_states or vault.clock() > asked.request.expires_at:
        raise RequestStateError(
            f"the request is {asked.state} or past its time", next_step="ask again if it is needed"
        )
    check_approval(vault.authority(work).people, asked.request, approval, signatures.verify)
    if any(approval.approver == earlier.approver for earlier in asked.approvals):
        raise ConflictError(f"{approval.approver} has decided on this request already")


def _moved(asked: ApprovalRequest, approval: Approval) -> ApprovalRequest:
    if approval.decision is Decision.REFUSE:
        return asked.to(RequestState.REFUSED)
    enough = len(asked.approvals) + 1 >= asked.request.rule.approvals
    if enough and asked.state is RequestState.REQUESTED:
        return asked.to(RequestState.APPROVED)
    return ApprovalRequest(asked.request, asked.state, asked.version + 1, asked.approvals)


def execute(vault: Vault, who: Principal, request_id: UUID, once: Once | None = None) -> Executed:
    """Carry out an approved request: intent committed, then the device, then the outcome.

    Raises `QuorumError` while approvals are missing, `OutcomeUnknownError` if the device was cut
    off: `reconcile` settles it then.
    """
    permitted = permit(vault, who, Action.REQUEST_EXECUTE)
    with vault.database.work() as work:
        asked = work.requests.get(request_id)
        if earlier := recall(work, who, once):
            return Executed(asked, earlier)
        _check_quorum(vault, work, asked)
        executors.check(work, vault.authority(work), asked.request.command)
        acting = executors.Acting(
            vault, who.actor, permitted.role, asked.to(RequestState.EXECUTING)
        )
        if not executors.needs_device(asked.request.command):
            outcome = executors.settle(acting, work, {})
            remember(work, who, once, outcome)
            work.commit(executors.done(acting, outcome))
            return Executed(work.requests.get(request_id), outcome)
        work.requests.change(acting.asked)
        remember(work, who, once, None)
        work.commit(executors.intent(acting))
    made = executors.act(acting)
    with vault.database.work() as work:
        outcome = executors.settle(acting, work, made)
        remember(work, who, once, outcome)
        work.commit(executors.done(acting, outcome))
        return Executed(work.requests.get(request_id), {**outcome, **executors.answer(made)})


def _check_quorum(vault: Vault, work: Work, asked: ApprovalRequest) -> None:
    if asked.state not in (RequestState.REQUESTED, RequestState.APPROVED):
        raise RequestStateError(f"the request is {asked.state}")
    authority = vault.authority(work)
    rule = authority.rule_for(
        asked.request.command.name, executors.key_class_of(work, asked.request.command)
    )
    clear(authority.people, rule, asked.request, asked.approvals, signatures.verify, vault.clock())


def cancel(
    vault: Vault, who: Principal, request_id: UUID, reason: str, once: Once | None = None
) -> ApprovalRequest:
    """Withdraw a request that is not under way yet."""
    permitted = permit(vault, who, Action.REQUEST_CANCEL)
    with vault.database.work() as work:
        asked = work.requests.get(request_id)
        if recall(work, who, once):
            return asked
        cancelled = asked.to(RequestState.CANCELLED)
        work.requests.change(cancelled)
        remember(work, who, once, {"request": str(request_id)})
        payload: Document = {"reason": reason}
        work.commit(
            _event(EventType.APPROVAL_CANCELLED, asked.request, who.actor, permitted.role, payload)
        )
        return cancelled


def _rejected(
    asked: ApprovalRequest, who: Principal, role: str, approval: Approval, reason: str
) -> AuditEvent:
    payload: Document = {"approval": approval.document(), "reason": reason}
    return _event(
        EventType.APPROVAL_REJECTED, asked.request, who.actor, role, payload, Outcome.REFUSED
    )


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
