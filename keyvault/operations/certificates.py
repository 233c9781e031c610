"""Certificates of our keys: what there is, and the steps that people take with them."""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from keyvault.domain.access import Action, Principal, readable
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.certificates import Certificate, CertificateState, Kind
from keyvault.domain.errors import (
    CertificatePendingError,
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
)
from keyvault.domain.keys import KeyState
from keyvault.domain.scopes import Scope
from keyvault.domain.standing import Reach, Where
from keyvault.operations import pacing
from keyvault.operations.vault import Once, Vault, key_stream, permit, recall, remember
from keyvault.store.certificates import no_certificate
from keyvault.store.unit_of_work import Reading, Work

CHUNK = 200  # certificates in one call: their transaction is over before anybody waits for it


@dataclass(frozen=True, slots=True)
class Which:
    """Certificates by their ids, or those of a batch whose turn it is."""

    ids: tuple[UUID, ...] = ()
    batch: UUID | None = None

    def __post_init__(self) -> None:
        if bool(self.ids) == (self.batch is not None):
            raise InvalidInputError("name certificates, or a batch, and not both")
        if len(self.ids) > CHUNK or len(set(self.ids)) != len(self.ids):
            raise InvalidInputError(f"name up to {CHUNK} certificates, each once")


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved, how many of the batch are still to be moved, and how far parties are."""

    certificates: list[Certificate]
    left: int
    pace: tuple[Document, ...] = ()  # where requests were sent: see `pacing.counted`

    def document(self) -> Document:
        named = [str(one.id) for one in self.certificates]
        return {"certificates": named, "left": self.left, "pace": list(self.pace)}


@dataclass(frozen=True, slots=True)
class Query:
    """Which certificates to list. None leaves a field open."""

    scope: Scope | None = None
    state: CertificateState | None = None
    kind: Kind | None = None
    key: UUID | None = None
    batch: UUID | None = None


def get(vault: Vault, who: Principal, certificate_id: UUID) -> Certificate:
    """Raises `NotFoundError`, also for one that the caller may not know of."""
    with vault.database.reading() as work:
        found = work.certificates.get(certificate_id)
    permit(vault, who, Action.KEY_READ, where=found.scope)
    own = readable(who, Action.KEY_READ, vault.clock())
    if own is not None and found.scope is not None and found.scope not in own:
        raise no_certificate(certificate_id)
    return found


def page(
    vault: Vault, who: Principal, query: Query, after: str | None = None, limit: int = 50
) -> tuple[list[Certificate], str | None]:
    """List certificates, newest first, and the cursor of the next page."""
    scopes = scopes_for(vault, who, query.scope)
    filters = {
        "scope": query.scope,
        "state": query.state,
        "kind": query.kind,
        "key_id": query.key,
        "batch": query.batch,
    }
    with vault.database.reading() as work:
        return work.certificates.page(filters, scopes, after, limit)


def scopes_for(vault: Vault, who: Principal, asked: Scope | None) -> AbstractSet[Scope] | None:
    """The scopes to which a list of certificates is narrowed, besides what is asked for.

    None for none: `who` may list all, or the very scope they ask for.
    """
    permit(vault, who, Action.KEY_READ, where=asked)
    own = readable(who, Action.KEY_READ, vault.clock())
    if own is not None and asked is not None and asked not in own:
        raise NotPermittedError("you list the certificates of your own scopes only")
    return own if asked is None else None


def counts(vault: Vault, who: Principal, batch: UUID) -> dict[CertificateState, int]:
    """Count a batch by state, as far as the caller may see it. Raises `NotFoundError`."""
    scopes = scopes_for(vault, who, None)
    with vault.database.reading() as work:
        found = work.certificates.counts(batch, scopes)
    if not found:
        raise NotFoundError(f"there is no batch {batch}")
    return found


def requests(
    vault: Vault, who: Principal, batch: UUID, after: str | None, limit: int
) -> tuple[list[Certificate], str | None]:
    """List a batch with its requests, to be written into an archive."""
    return page(vault, who, Query(batch=batch), after, limit)


# Steps ---------------------------------------------------------------------------------------

Change = Callable[[Work, Certificate], Certificate]


@dataclass(frozen=True, slots=True)
class _Step:
    """A step that a person takes: which event, and for a batch in which state it is due."""

    event: EventType
    due: CertificateState
    change: Change
    payload: Document
    paced: bool = False  # whether what is moved counts against what the authority takes


def submit(
    vault: Vault, who: Principal, which: Which, reference: str, once: Once | None = None
) -> Moved:
    """Record that requests go to the authority, for the first time or again, before they do.

    Raises `SubmissionLimitError` where the authority would take no more of them now.
    """

    def change(_work: Work, one: Certificate) -> Certificate:
        return one.to(CertificateState.SUBMITTED, reference=reference, reason="")

    due = CertificateState.CSR_BUILT
    step = _Step(EventType.CSR_SUBMITTED, due, change, {"reference": reference}, paced=True)
    return _take(vault, who, which, step, once)


def accept(
    vault: Vault, who: Principal, which: Which, reason: str, once: Once | None = None
) -> Moved:
    """Accept certificates that fit their requests. That of an active key is in use at once."""

    def change(work: Work, one: Certificate) -> Certificate:
        accepted = one.to(CertificateState.ACCEPTED, reason=reason)
        if one.key is None or work.keys.get(one.key).state is not KeyState.ACTIVE:
            return accepted
        return replace(accepted.to(CertificateState.IN_USE), version=accepted.version)

    step = _Step(EventType.CERT_ACCEPTED, CertificateState.ISSUED, change, {"reason": reason})
    return _take(vault, who, which, step, once)


def reject(
    vault: Vault, who: Principal, certificate_id: UUID, reason: str, once: Once | None = None
) -> Moved:
    """Reject a certificate that fits, for a reason of one's own; tell the Service Desk too."""

    def change(_work: Work, one: Certificate) -> Certificate:
        return one.to(CertificateState.REJECTED, reason=reason)

    payload: Document = {"reason": reason, "mismatches": []}
    step = _Step(EventType.CERT_REJECTED, CertificateState.ISSUED, change, payload)
    return _take(vault, who, Which((certificate_id,)), step, once)


def withdraw(
    vault: Vault, who: Principal, certificate_id: UUID, reason: str, once: Once | None = None
) -> Moved:
    """Give a request up, so that its key may be activated without, or have another one."""

    def change(_work: Work, one: Certificate) -> Certificate:
        return one.to(CertificateState.WITHDRAWN, reason=reason)

    step = _Step(EventType.CSR_WITHDRAWN, CertificateState.CSR_BUILT, change, {"reason": reason})
    return _take(vault, who, Which((certificate_id,)), step, once)


def revoke(
    vault: Vault, who: Principal, certificate_id: UUID, reason: str, once: Once | None = None
) -> Moved:
    """Record that a certificate is revoked; another's that was imported is believed no more."""

    def change(_work: Work, one: Certificate) -> Certificate:
        return one.to(CertificateState.REVOKED, reason=reason)

    step = _Step(EventType.CERT_REVOKED, CertificateState.IN_USE, change, {"reason": reason})
    return _take(vault, who, Which((certificate_id,)), step, once)


def _take(vault: Vault, who: Principal, which: Which, step: _Step, once: Once | None) -> Moved:
    with vault.database.reading() as work:
        scopes = {one.scope for one in _chosen(work, which, step)}
    role = permit_in(vault, who, Action.CERTIFICATE_RECORD, scopes)
    with vault.database.work() as work:
        if earlier := recall(work, who, once):
            ids = [UUID(each) for each in earlier["certificates"]]
            return Moved(_ordered(work, ids), earlier["left"], tuple(earlier.get("pace", ())))
        found = [one for one in _chosen(work, which, step) if one.scope in scopes]
        moved = _moved(vault, work, which, step, [step.change(work, one) for one in found])
        if moved.certificates:
            remember(work, who, once, moved.document())
            events = [_stepped(step, who, role, one) for one in moved.certificates]
            work.commit(events[0], *events[1:])
        return moved


def _moved(
    vault: Vault, work: Work, which: Which, step: _Step, changed: list[Certificate]
) -> Moved:
    for one in changed:
        work.certificates.change(one)
    left = 0 if which.batch is None else work.certificates.counts(which.batch).get(step.due, 0)
    pace = pacing.counted(vault, work, which.batch, changed) if step.paced else []
    return Moved(changed, left, tuple(pace))


def permit_in(vault: Vault, who: Principal, action: Action, scopes: Iterable[Scope | None]) -> str:
    """Ask for every scope that a call concerns; others' certificates concern them all."""
    places: set[Where] = {Reach.ALL if scope is None else scope for scope in scopes}
    roles = [permit(vault, who, action, where=place).role for place in sorted(places, key=str)]
    return roles[0] if roles else permit(vault, who, action).role


def _chosen(work: Reading, which: Which, step: _Step) -> list[Certificate]:
    if which.batch is not None:
        return work.certificates.of_batch(which.batch, step.due, CHUNK)
    return _ordered(work, which.ids)


def _ordered(work: Reading, ids: Iterable[UUID]) -> list[Certificate]:
    wanted = list(ids)
    found = work.certificates.known(wanted)
    missing = [each for each in wanted if each not in found]
    if missing:
        raise no_certificate(missing[0])
    return [found[each] for each in wanted]


def _stepped(step: _Step, who: Principal, role: str, one: Certificate) -> AuditEvent:
    payload = {**step.payload, "after": str(one.state)}
    if one.batch is not None:
        payload["batch"] = str(one.batch)
    return event(step.event, who.actor, role, one, payload)


def event(
    kind: EventType,
    actor: str,
    role: str,
    one: Certificate,
    payload: Document,
    outcome: Outcome = Outcome.OK,
) -> AuditEvent:
    """Write down a step of one certificate, in the stream of its key."""
    return AuditEvent(
        type=kind,
        outcome=outcome,
        operation=uuid4(),
        stream=key_stream(one.key) if one.key else f"certificate:{one.id}",
        actor=actor,
        role=role,
        scope=one.scope,
        payload={"certificate": str(one.id), **payload},
    )


# What other rooms ask ------------------------------------------------------------------------


def check_activation(work: Reading, key_id: UUID) -> None:
    """Raise `CertificatePendingError` while a request of the key is open."""
    pending = work.certificates.open_of([key_id]).get(key_id)
    if pending is not None:
        raise CertificatePendingError(
            f"the key's certificate {pending.id} is {pending.state}",
            next_step="accept it, or withdraw its request: keyvault certificates show "
            f"{pending.id}",
        )


def put_in_use(work: Work, key_id: UUID) -> None:
    """Move the accepted certificates of a key that has just become active; the caller commits."""
    for one in work.certificates.of_key(key_id):
        if one.state is CertificateState.ACCEPTED:
            work.certificates.change(one.to(CertificateState.IN_USE))
