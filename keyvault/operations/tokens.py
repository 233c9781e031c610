"""Tokens from stock to the end: what the issuing job, the clock and one person alone do to them.

What people sign is in `statements`. Every function is one transaction with its event.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID, uuid4

from keyvault.domain import tokens as domain
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import NotPermittedError, TokenStateError
from keyvault.domain.people import thumbprint
from keyvault.domain.tokens import (
    FOUND_WITHIN,
    MOVES,
    UNBLOCKS_A_YEAR,
    Concern,
    Custody,
    Limits,
    Step,
    Token,
    TokenState,
    had,
)
from keyvault.operations.vault import Once, Vault, permit, recall, remember
from keyvault.store.issued import Reason
from keyvault.store.tokens import DONE, SPENT
from keyvault.store.unit_of_work import Reading, Work

SERVICE = "service:clerk"


def get(vault: Vault, who: Principal, token_id: UUID) -> Token:
    """Raises `NotFoundError`. Whoever holds or keeps a token may look at it."""
    with vault.database.reading() as work:
        token = work.tokens.get(token_id)
    if who.id not in (token.holder, token.custodian):
        permit(vault, who, Action.TOKEN_READ)
    return token


def page(
    vault: Vault,
    who: Principal,
    filters: dict[str, str | None],
    after: str | None = None,
    limit: int = 50,
) -> tuple[list[Token], str | None]:
    """List tokens, newest first, by state, holder, place, custodian, serial or model."""
    permit(vault, who, Action.TOKEN_READ)
    with vault.database.reading() as work:
        return work.tokens.page(filters, after, limit)


def ledger(vault: Vault, who: Principal, token_id: UUID) -> list[Custody]:
    """Every change of hands of a token, the first first."""
    get(vault, who, token_id)
    with vault.database.reading() as work:
        return work.tokens.ledger(token_id)


def keys(vault: Vault, who: Principal, token_id: UUID) -> list[tuple[str, bytes]]:
    """Slot and SPKI (DER) of the keys on a token."""
    get(vault, who, token_id)
    with vault.database.reading() as work:
        return work.tokens.keys(token_id)


def holder_at(vault: Vault, who: Principal, token_id: UUID, at: datetime) -> str:
    """Who had a token at a time: exactly one name. Raises `NotFoundError` before its first."""
    return had(ledger(vault, who, token_id), at)


def concerns(
    vault: Vault, who: Principal, limits: Limits = domain.USUAL
) -> list[tuple[Token, Concern]]:
    """What ends, sleeps, was never activated or is late: a report to be worked off."""
    permit(vault, who, Action.TOKEN_READ)
    now = vault.clock()
    limits = replace(limits, master=len(vault.settings.issuing.masters))
    watched = (*_LIVE_ENDS, TokenState.IN_TRANSIT)
    with vault.database.reading() as work:
        found = work.tokens.in_states(*watched)
    return [(token, why) for token in found for why in domain.concerns(token, now, limits)]


_LIVE_ENDS = (
    *(TokenState.ACTIVE, TokenState.PIN_BLOCKED, TokenState.SUSPENDED),
    TokenState.DELIVERED,
)


# The issuing job ------------------------------------------------------------------------------


def begin(vault: Vault, who: Principal, token_id: UUID, job: UUID) -> Token:
    """An issuing job begins with an allocated token, or goes on: one job a token.

    Raises `TokenStateError` where another job has it, or it is not allocated.
    """
    _permit_issuer(vault, who, token_id)
    with vault.database.work() as work:
        token = work.tokens.get(token_id)
        token.check(Step.PERSONALISE)
        if token.job == str(job):
            return token
        if token.job:
            raise TokenStateError(
                f"the issuing job {token.job} has this token",
                next_step=f"end that first: keyvault issuing abandon {token.job}",
            )
        taken = token.with_(job=str(job), changed_at=vault.clock())
        work.tokens.change(taken)
        told: Document = {"job": str(job), "begins": True}
        work.commit(event(EventType.TOKEN_PERSONALISED, who, taken, told, Outcome.INTENT))
        return taken


def let_go(vault: Vault, who: Principal, token_id: UUID, job: UUID, cause: str) -> Token:
    """A job that is abandoned gives its token free: its certificates are revoked."""
    permit(vault, who, Action.TOKEN_ISSUE)
    with vault.database.work() as work:
        token = work.tokens.get(token_id)
        if token.job != str(job):
            raise TokenStateError(f"the issuing job {job} does not have this token")
        revoked = work.issued.revoke_token(token_id, "cessationOfOperation", vault.clock())
        free = token.with_(job="", changed_at=vault.clock())
        work.tokens.change(free)
        told: Document = {"job": str(job), "cause": cause, "revoked": revoked}
        work.commit(event(EventType.TOKEN_PERSONALISED, who, free, told, Outcome.FAIL))
        return free


def personalised(
    vault: Vault,
    who: Principal,
    token_id: UUID,
    job: UUID,
    keys: Mapping[str, bytes],
    facts: Document,
    ends: datetime | None = None,
) -> Token:
    """What the job read back: `keys` is the SPKI (DER) of each slot, `facts` all else.

    `ends` is when certificates of other authorities end, if it has any.

    Done once; a repeated call returns the token. Raises `TokenDuplicateError` where another
    token ever had one of these keys: then the token is to be quarantined.
    """
    permit(vault, who, Action.TOKEN_ISSUE)
    now = vault.clock()
    with vault.database.work() as work:
        token = work.tokens.get(token_id)
        if token.job == str(job) and token.state is TokenState.PERSONALISED:
            return token
        if token.job != str(job):
            raise TokenStateError(f"the issuing job {job} does not have this token")
        for slot, spki in keys.items():
            work.tokens.add_key(token_id, slot, thumbprint(spki), spki, now)
        until = ends or work.issued.ends(token_id)
        done = token.take(Step.PERSONALISE, now, facts=facts, expires_at=until)
        work.tokens.change(done)
        told: Document = {"job": str(job), "keys": _named(keys), "facts": facts}
        work.commit(event(EventType.TOKEN_PERSONALISED, who, done, told))
        return done


def _named(keys: Mapping[str, bytes]) -> Document:
    return {slot: thumbprint(spki) for slot, spki in keys.items()}


def spoiled(vault: Vault, who: Principal, token_id: UUID, cause: str) -> Token:
    """Something is wrong with it: it is destroyed and nothing else, its certificates revoked."""
    permit(vault, who, Action.TOKEN_ISSUE)
    with vault.database.work() as work:
        token = work.tokens.get(token_id)
        if token.state is TokenState.QUARANTINED:
            return token
        bad = token.take(Step.QUARANTINE, vault.clock())
        work.tokens.change(bad)
        revoked = work.issued.revoke_token(token_id, "cessationOfOperation", vault.clock())
        told: Document = {"job": token.job, "cause": cause, "revoked": revoked}
        work.commit(event(EventType.TOKEN_QUARANTINED, who, bad, told))
        return bad


def check_release(vault: Vault, token_id: UUID, statement: UUID) -> None:
    """Raise `TokenStateError` unless two people let this token be unblocked, and nobody did yet."""
    with vault.database.reading() as work:
        _release(work, token_id, statement)


def unblocked(vault: Vault, who: Principal, token_id: UUID, statement: UUID) -> Token:
    """A blocked token has a new PIN: the release of two people is used up.

    Its caller saw to who may do it. Raises `TokenStateError` where it was unblocked too often
    within a year: then it is replaced.
    """
    with vault.database.work() as work:
        token = work.tokens.get(token_id)
        _release(work, token_id, statement)
        again = token.take(Step.UNBLOCK, vault.clock())
        work.tokens.change(again)
        work.tokens.spend(statement, DONE, SPENT)
        told: Document = {"statement": str(statement), "allowed_a_year": UNBLOCKS_A_YEAR}
        work.commit(event(EventType.PIN_UNBLOCKED, who, again, told))
        return again


def note(work: Work, token_id: UUID, **facts: object) -> None:
    """Write down what a card was seen to be, or to have, at its last contact."""
    token = work.tokens.get(token_id)
    work.tokens.change(token.with_(facts={**token.facts, **facts}))


def _release(work: Reading, token_id: UUID, statement: UUID) -> None:
    found = work.tokens.statement(statement)
    signed = found.signed.statement
    if (signed.said.name, signed.token, found.state) != ("release", token_id, DONE):
        raise TokenStateError(
            "nobody let this token be unblocked, or it was",
            next_step=f"two people sign it: keyvault tokens release {token_id}",
        )


def _permit_issuer(vault: Vault, who: Principal, token_id: UUID) -> None:
    """Whoever gave the token to its holder does not make it, too."""
    permit(vault, who, Action.TOKEN_ISSUE)
    with vault.database.reading() as work:
        gave = work.tokens.statements(token=token_id, step="allocate")
    if who.id in {one.signed.statement.person for one in gave}:
        raise NotPermittedError(
            f"{who.id} gave this token to its holder, and does not make it, too",
            next_step="let another issuer do it",
        )


# What one person alone may do -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Why:
    """Why a token is stopped. `note` writes down what comes with it, and what the event says."""

    reason: str
    missing_since: datetime | None = None
    note: Callable[[Work], Document] = lambda _: {}


def stop(
    vault: Vault, who: Principal, token_id: UUID, step: Step, why: Why, once: Once | None = None
) -> Token:
    """Suspend, report as lost, revoke, or note a blocked PIN: it bites with the commit.

    Anybody registered may report a token as lost, a holder may suspend their own.
    """
    role = _may_stop(vault, who, token_id, step)
    with vault.database.work() as work:
        if recall(work, who, once):
            return work.tokens.get(token_id)
        stopped = work.tokens.get(token_id).take(step, vault.clock())
        work.tokens.change(stopped)
        told: Document = {"reason": why.reason, **why.note(work)}
        if why.missing_since is not None:
            told["missing_since"] = why.missing_since.isoformat()
        if step in _REASONS:
            told["revoked"] = work.issued.revoke_token(token_id, _REASONS[step], vault.clock())
            if elsewhere := stopped.facts.get("elsewhere"):
                told["to_be_revoked_elsewhere"] = elsewhere
        remember(work, who, once, {"token": str(token_id)})
        work.commit(event(MOVES[step].event, who, stopped, told, role=role))
        return stopped


_REASONS = {Step.REPORT_LOST: Reason.LOST, Step.REVOKE: Reason.ENDED}


def _may_stop(vault: Vault, who: Principal, token_id: UUID, step: Step) -> str:
    action = MOVES[step].action
    if action is None:
        raise NotPermittedError(f"{step} is a step of the clock")
    with vault.database.reading() as work:
        mine = token_id in [token.id for token in work.tokens.of_holder(who.id)]
    own = mine and step in (Step.SUSPEND, Step.BLOCK_PIN)
    return permit(vault, who, Action.TOKEN_OWN if own else action).role


# What the clock does --------------------------------------------------------------------------


def sweep(vault: Vault) -> list[Token]:
    """End what has ended: certificates that are over, and what was sent and never arrived."""
    now = vault.clock()
    with vault.database.reading() as work:
        over = [
            (token.id, Step.EXPIRE)
            for token in work.tokens.in_states(*_LIVE_ENDS)
            if token.expires_at is not None and token.expires_at <= now
        ]
        late = [
            (token.id, Step.OVERDUE)
            for token in work.tokens.in_states(TokenState.IN_TRANSIT)
            if token.due_at is not None and token.due_at <= now
        ]
    return [_swept(vault, token, step) for token, step in (*over, *late)]


def _swept(vault: Vault, token_id: UUID, step: Step) -> Token:
    with vault.database.work() as work:
        token = work.tokens.get(token_id)
        ended = token.take(step, vault.clock())
        work.tokens.change(ended)
        told: Document = {"due": token.due_at.isoformat()} if token.due_at else {}
        if step is Step.OVERDUE:
            told["revoked"] = work.issued.revoke_token(token_id, Reason.LOST, vault.clock())
        work.commit(event(MOVES[step].event, SERVICE, ended, told))
        return ended


def superseded(work: Work, who: Principal, new: Token, now: datetime) -> list[AuditEvent]:
    """The token that `new` replaces ends as `new` becomes active: never two for one purpose."""
    if new.replaces is None:
        return []
    old = work.tokens.get(new.replaces)
    if old.state not in MOVES[Step.REPLACE].sources:
        return []
    ended = old.take(Step.REPLACE, now)
    work.tokens.change(ended)
    revoked = work.issued.revoke_token(old.id, Reason.REPLACED, now)
    told: Document = {"next": str(new.id), "revoked": revoked}
    return [event(EventType.TOKEN_REPLACED, who, ended, told)]


def check_found(token: Token, now: datetime) -> None:
    """Raise `TokenStateError` if a suspended token was found too late to go on."""
    if token.state is TokenState.SUSPENDED and now - token.changed_at > FOUND_WITHIN:
        raise TokenStateError(
            f"it was suspended more than {FOUND_WITHIN.days} days ago",
            next_step="revoke it, and nominate its holder for another",
        )


def event(
    kind: EventType,
    who: Principal | str,
    token: Token,
    told: Document,
    outcome: Outcome = Outcome.OK,
    role: str = "",
) -> AuditEvent:
    about: Document = {"token": str(token.id), "serial": token.serial, "state": str(token.state)}
    return AuditEvent(
        type=kind,
        outcome=outcome,
        operation=uuid4(),
        stream=token_stream(token.id),
        actor=who if isinstance(who, str) else who.actor,
        role=role,
        payload={**about, **told},
    )


def token_stream(token_id: UUID) -> str:
    return f"token:{token_id}"


def rows(vault: Vault, who: Principal) -> list[Document]:
    """The register of tokens, one row each, for whoever writes it as CSV or JSON."""
    permit(vault, who, Action.TOKEN_READ)
    with vault.database.reading() as work:
        return [_register_row(token) for token in work.tokens.in_states(*TokenState)]


def _register_row(token: Token) -> Document:
    texts = ("serial", "model", "profile", "purpose", "holder", "custodian", "place", "seal")
    times = ("created_at", "changed_at", "due_at", "expires_at", "used_at")
    moments = {name: getattr(token, name) for name in times}
    return {
        "id": str(token.id),
        "kind": str(token.kind),
        "state": str(token.state),
        **{name: getattr(token, name) for name in texts},
        "batch": token.batch,
        "replaces": str(token.replaces or ""),
        **{name: "" if at is None else at.isoformat() for name, at in moments.items()},
    }
