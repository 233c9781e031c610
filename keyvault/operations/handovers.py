"""Handovers: custodians bring their parts in or take them out, end one, and the clock ends others.

No component passes here in clear: what is handed on is sealed for the gate, or by it.
"""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from uuid import UUID

from hsm.errors import DeviceUnavailableError, HsmError
from hsm.types import CheckValues
from keyvault.domain.access import Action, Principal, readable
from keyvault.domain.approvals import ApprovalRequest
from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.commands import ExportComponents
from keyvault.domain.errors import (
    BagMismatchError,
    CheckValueError,
    ComponentRefusedError,
    HandoverEndedError,
    KeyStateError,
    VaultError,
)
from keyvault.domain.handovers import (
    Delivery,
    Handover,
    HandoverState,
    Part,
    check_bag,
    digest,
    told,
)
from keyvault.operations import executors
from keyvault.operations.acts.base import Acting
from keyvault.operations.acts.handovers import handover_event
from keyvault.operations.vault import Vault, permit
from keyvault.store.unit_of_work import Reading

CLOCK = "service:clerk"


@dataclass(frozen=True, slots=True)
class Handed:
    """What came of a delivery: the handover as it is now, and the part that goes out, sealed."""

    handover: Handover
    missing: int
    sealed: bytes = b""


def get(vault: Vault, who: Principal, request_id: UUID) -> Handover:
    """Raises `NotFoundError`."""
    permit(vault, who, Action.REQUEST_READ)
    with vault.database.reading() as work:
        found = work.handovers.get(request_id)
    permit(vault, who, Action.REQUEST_READ, where=found.scope)
    return found


def page(
    vault: Vault, who: Principal, after: str | None = None, limit: int = 50
) -> tuple[list[Handover], str | None]:
    """List handovers, newest first, and the cursor of the next page: those of one's scopes."""
    permit(vault, who, Action.REQUEST_READ)
    scopes = readable(who, Action.REQUEST_READ, vault.clock())
    with vault.database.reading() as work:
        return work.handovers.page(scopes=scopes, after=after, limit=limit)


# What custodians do ------------------------------------------------------------------------------


def deliver(
    vault: Vault, who: Principal, request_id: UUID, document: Document, signature: bytes
) -> Handed:
    """Bring one's part, or collect it. The gate checks the custodian's signature once more.

    The same delivery again has the same answer. Raises `ComponentRefusedError`,
    `ComponentInvalidError`, `CheckValueError`, `HandoverEndedError`.
    """
    under_way = _under_way(vault, who, request_id)
    with _refusals_told(under_way, document.get("number")):
        delivery = Delivery.read(document)
        _check_own(who, request_id, delivery)
        made = _at_the_gate(under_way, document, signature)
    _write_down(under_way, delivery, signature, made)
    return Handed(get(vault, who, request_id), made["missing"], made.get("sealed", b""))


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A handover that somebody acts on, and its request."""

    acting: Acting
    handover: Handover

    @property
    def vault(self) -> Vault:
        return self.acting.vault


def _under_way(vault: Vault, who: Principal, request_id: UUID) -> UnderWay:
    permit(vault, who, Action.KEY_CARRY)
    with vault.database.reading() as work:
        asked, found = _both(work, request_id)
    permitted = permit(vault, who, Action.KEY_CARRY, where=found.scope)
    return UnderWay(Acting(vault, who.actor, permitted.role, asked), found)


def _both(work: Reading, request_id: UUID) -> tuple[ApprovalRequest, Handover]:
    found = work.handovers.get(request_id)
    return work.requests.get(request_id), found


def _check_own(who: Principal, request_id: UUID, delivery: Delivery) -> None:
    """Raise unless this is the caller's own delivery, signed for this session."""
    own = (request_id, who.id, who.spki_sha256)
    if (delivery.request, delivery.person, delivery.session) != own:
        raise ComponentRefusedError(
            "the delivery was signed by another person, or for another session or handover",
            next_step="log in as yourself, and repeat it",
        )


def _at_the_gate(under_way: UnderWay, document: Document, signature: bytes) -> Document:
    try:
        return under_way.vault.gate.deliver(document, signature)
    except CheckValueError as error:
        with suppress(HandoverEndedError):  # somebody else was quicker to end it
            _end(under_way, HandoverState.ABORTED, EventType.HANDOVER_ABORTED, str(error))
        raise


@contextmanager
def _refusals_told(under_way: UnderWay, number: object) -> Iterator[None]:
    try:
        yield
    except DeviceUnavailableError:
        raise
    except (VaultError, HsmError) as error:
        payload: Document = {"code": error.code, "reason": str(error)}
        payload["number"] = number if isinstance(number, int) else None
        kind = EventType.HANDOVER_REFUSED
        with under_way.vault.database.work() as work:
            work.commit(handover_event(under_way.acting, kind, payload, Outcome.REFUSED))
        raise


def _write_down(under_way: UnderWay, delivery: Delivery, signature: bytes, made: Document) -> None:
    """Record a delivery, and settle the request with the one that was missing."""
    acting, values = under_way.acting, made["check_values"]
    check = CheckValues(values["cmac"], values["ecb"])
    goes_out = isinstance(acting.command, ExportComponents)
    kind = EventType.HANDOVER_COLLECTED if goes_out else EventType.HANDOVER_DELIVERED
    with under_way.vault.database.work() as work:
        now = under_way.vault.clock()
        part = Part(delivery.number, delivery.person, delivery.session, now, check)
        work.handovers.put(acting.id, part)
        event = handover_event(acting, kind, _told(delivery, signature, check))
        if "made" in made:
            outcome = executors.settle(acting, work, {**made["made"], **made})
            work.commit(event, *executors.done(acting, outcome))
        else:
            work.commit(event)


def _told(delivery: Delivery, signature: bytes, check: CheckValues) -> Document:
    return {
        **delivery.told(),
        **({} if check == delivery.check else {"handed_out": told(check)}),
        "signature": b64encode(signature).decode(),
    }


def abort(vault: Vault, who: Principal, request_id: UUID, reason: str) -> Handover:
    """End a handover: any custodian may, and nothing is made. Raises `HandoverEndedError`."""
    under_way = _under_way(vault, who, request_id)
    _end(under_way, HandoverState.ABORTED, EventType.HANDOVER_ABORTED, reason)
    return get(vault, who, request_id)


def _end(under_way: UnderWay, state: HandoverState, kind: EventType, reason: str) -> None:
    vault, acting = under_way.vault, under_way.acting
    if under_way.handover.state is not HandoverState.OPEN:
        raise HandoverEndedError(f"this handover is {under_way.handover.state}")
    papers = vault.gate.end_handover(acting.id.bytes, str(state), reason)
    if not papers and _is_on_token(vault, acting.id):
        raise HandoverEndedError(
            "the key was made already, and its record is not written yet",
            next_step="wait for a moment, then: keyvault reconcile",
        )
    transcript = papers.get("transcript")
    event: Document = {"reason": reason}
    event["transcript_sha256"] = digest(transcript) if transcript is not None else None
    with vault.database.work() as work:
        work.handovers.end(replace(under_way.handover, state=state, **papers))
        acting.also.append(handover_event(acting, kind, event))
        executors.void(acting, work, str(state), reason)


def _is_on_token(vault: Vault, key_id: UUID) -> bool:
    return any(record.key_id == key_id.bytes for record in vault.gate.inventory())


# Bags --------------------------------------------------------------------------------------------


def seal_bag(vault: Vault, who: Principal, request_id: UUID, number: int, bag: str) -> Handover:
    """Record the bag of one's own component. With the last one the export is done."""
    under_way = _under_way(vault, who, request_id)
    acting, part = under_way.acting, _own_part(under_way, who, number)
    if part.bag is not None:
        raise KeyStateError(f"component {number} is in bag {part.bag} already")
    with vault.database.work() as work:
        work.handovers.put(request_id, replace(part, bag=check_bag(bag)))
        event: Document = {"number": number, "bag": bag}
        work.commit(handover_event(acting, EventType.BAG_SEALED, event))
    _close(vault, who, request_id)
    return get(vault, who, request_id)


def _own_part(under_way: UnderWay, who: Principal, number: int) -> Part:
    part = under_way.handover.part(number)
    if part is None or part.person != who.id:
        raise ComponentRefusedError(
            f"{who.id} has collected no component {number} of this handover",
            next_step="each custodian collects their own: keyvault keys components collect",
        )
    return part


def _close(vault: Vault, who: Principal, request_id: UUID) -> None:
    """End an export once every component lies in a bag; called again it does nothing."""
    under_way = _under_way(vault, who, request_id)
    found, acting = under_way.handover, under_way.acting
    command = acting.command
    if not isinstance(command, ExportComponents) or found.state is not HandoverState.OPEN:
        return
    if sum(part.bag is not None for part in found.parts) < len(command.custodians):
        return
    papers = vault.gate.end_handover(request_id.bytes, str(HandoverState.DONE), "")
    with vault.database.work() as work:
        outcome = executors.settle(acting, work, papers)
        work.commit(*executors.done(acting, outcome))


def return_bag(vault: Vault, who: Principal, request_id: UUID, number: int, bag: str) -> Handover:
    """Record that a bag came back. Raises `BagMismatchError`, which is an event of its own."""
    under_way = _under_way(vault, who, request_id)
    acting, part = under_way.acting, under_way.handover.part(number)
    if part is None or part.bag is None:
        raise KeyStateError(f"component {number} was never put into a bag")
    if part.returned_at is not None:
        raise KeyStateError(f"bag {part.bag} came back before")
    fits = check_bag(bag) == part.bag
    event: Document = {"number": number, "bag": part.bag, **({} if fits else {"came": bag})}
    kind = EventType.BAG_RETURNED if fits else EventType.BAG_MISMATCHED
    with vault.database.work() as work:
        if fits:
            work.handovers.put(request_id, replace(part, returned_at=vault.clock()))
        outcome = Outcome.OK if fits else Outcome.FAIL
        work.commit(handover_event(acting, kind, event, outcome))
    if not fits:
        raise BagMismatchError(
            f"component {number} was put into bag {part.bag}, and bag {bag} came back",
            next_step="open nothing, keep the bag, and call the incident lead",
        )
    return get(vault, who, request_id)


# What the clock does -----------------------------------------------------------------------------


def expire(vault: Vault) -> int:
    """End what has run out of time; return how many. What the gate has made is for `reconcile`."""
    with vault.database.reading() as work:
        overdue = [_both(work, request) for request in work.handovers.overdue(vault.clock())]
    ended = 0
    for asked, found in overdue:
        under_way = UnderWay(Acting(vault, CLOCK, "", asked), found)
        reason = "its time ran out"
        with suppress(HandoverEndedError):
            _end(under_way, HandoverState.EXPIRED, EventType.HANDOVER_EXPIRED, reason)
            ended += 1
    return ended
