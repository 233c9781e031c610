"""Issuing jobs: ordered, worked on through a desk, resumed, abandoned, reconciled.

The steps themselves are in `personalising`; here is the house that they ask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

from hsm.errors import CardForeignError, HsmError
from hsm.pcsc import profiles
from hsm.pcsc.apdu import Channel, TransmissionProtocol
from hsm.pcsc.piv import PivCard
from hsm.pcsc.relay import Message, Relay
from hsm.pcsc.secured import token_of
from hsm.tokens import TokenDriver
from hsm.usb import Pkcs11Token, load
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError, IssueStateError, NotPermittedError
from keyvault.domain.issuing import (
    BATCH_LIMIT,
    DEFAULT_PLAN,
    IKI_PLAN,
    PLANS,
    SECOND_PERSON_AFTER,
    IssueJob,
    Issuer,
    PinRoute,
    Standing,
    guidance,
)
from keyvault.domain.token_profiles import SLOTS
from keyvault.domain.tokens import Token, TokenKind
from keyvault.operations import tokens
from keyvault.operations.issuing_house import GateOwnKey, VaultHouse, event
from keyvault.operations.personalising import personalise
from keyvault.operations.relays import Line
from keyvault.operations.traces import Tracing
from keyvault.operations.vault import Once, Vault, permit, recall, remember
from keyvault.settings import StationSettings
from keyvault.store.unit_of_work import Reading

AGREEING = "9D"
ALGORITHMS = ("EC-P256", "EC-P384", "RSA-2048")


def order(
    vault: Vault,
    who: Principal,
    token_ids: Sequence[UUID],
    pin_route: PinRoute = PinRoute.MAILER,
    plan: Mapping[str, str] | None = None,
    once: Once | None = None,
    issuer: Issuer = Issuer.OWN,
) -> list[IssueJob]:
    """Order the personalising of allocated tokens: a job each, all of one batch.

    `issuer` is who certifies: with another authority the token comes to a desk twice.
    """
    permit(vault, who, Action.TOKEN_ISSUE)
    plan = plan or (IKI_PLAN if issuer is Issuer.IKI else None)
    _check_order(token_ids, plan)
    _check_issuer(vault, token_ids, issuer, plan)
    with vault.database.reading() as work:
        if before := recall(work, who, once):
            return [work.issuing.get(UUID(job)) for job in _texts(before["jobs"])]
    facts: Document = {"pin_route": str(pin_route), "issuer": str(issuer)}
    facts |= {"plan": dict(plan)} if plan else {}
    batch = str(uuid4()) if len(token_ids) > 1 else ""
    jobs = [_ordered(vault, who, token, facts, batch) for token in token_ids]
    if once is not None:
        with vault.database.work() as work:
            remember(work, who, once, {"jobs": [str(job.id) for job in jobs]})
            work.commit(event(EventType.ISSUE_ORDERED, who, jobs[0], {"jobs": len(jobs)}))
    return jobs


def _ordered(vault: Vault, who: Principal, token_id: UUID, facts: Document, batch: str) -> IssueJob:
    now, job_id = vault.clock(), uuid4()
    token = tokens.begin(vault, who, token_id, job_id)
    with vault.database.work() as work:
        generation = vault.settings.issuing.masters
        own: Document = {"plan": _plan_of(token), **facts, "master": len(generation)}
        own |= _left_on(work, token)
        job = IssueJob(job_id, token_id, str(token.kind), who.id, now, now, batch=batch, facts=own)
        work.issuing.add(job)
        told: Document = {"plan": own["plan"], "batch": batch, "issuer": facts["issuer"]}
        work.commit(event(EventType.ISSUE_ORDERED, who, job, told))
    return job


def _left_on(work: Reading, token: Token) -> Document:
    """What an abandoned job may have put on the token: PIN and PUK of its own, under seal."""
    before = work.issuing.last_of(token.id)
    if before is None or "sealed" not in before.facts:
        return {}
    what = "secure" if token.kind is TokenKind.PIV_CARD else "take_over"
    return {"sealed": before.facts["sealed"], "begun": {what: before.begun(what)}}


def _plan_of(token: Token) -> Document:
    """What the profile that the token was nominated with says."""
    return dict(PLANS.get(token.profile, DEFAULT_PLAN))


def _check_order(token_ids: Sequence[UUID], plan: Mapping[str, str] | None) -> None:
    if not 0 < len(set(token_ids)) == len(token_ids) <= BATCH_LIMIT:
        raise InvalidInputError(f"order 1 to {BATCH_LIMIT} different tokens at once")
    if plan is not None:
        _check_plan(plan)


def _check_issuer(
    vault: Vault, token_ids: Sequence[UUID], issuer: Issuer, plan: Mapping[str, str] | None
) -> None:
    if issuer is Issuer.OWN:
        return
    if issuer is Issuer.IKI and plan != IKI_PLAN:
        raise InvalidInputError("the IKI certifies one key of RSA-2048, in slot 9A")
    with vault.database.reading() as work:
        plans = [plan or _plan_of(work.tokens.get(token)) for token in token_ids]
    if any(AGREEING in one or "EC-P384" in one.values() for one in plans):
        raise InvalidInputError(
            "a request is signed by its own key, with EC-P256 or RSA-2048",
            next_step=f"leave slot {AGREEING} and EC-P384 out for another authority",
        )


def _check_plan(plan: Mapping[str, str]) -> None:
    if not plan or set(plan) - set(SLOTS) or set(plan.values()) - set(ALGORITHMS):
        raise InvalidInputError(
            "a plan gives slots 9A, 9C and 9D one algorithm each",
            next_step=f"choose from: {', '.join(ALGORITHMS)}",
        )
    if not plan.get(AGREEING, "EC-").startswith("EC-"):
        raise InvalidInputError(
            f"slot {AGREEING} agrees on keys, which one of an elliptic curve does",
            next_step="choose EC-P256 or EC-P384 for it",
        )


def get(vault: Vault, who: Principal, job_id: UUID) -> IssueJob:
    permit(vault, who, Action.TOKEN_READ)
    with vault.database.reading() as work:
        return work.issuing.get(job_id)


def page(
    vault: Vault,
    who: Principal,
    filters: dict[str, str | None],
    after: str | None = None,
    limit: int = 50,
) -> tuple[list[IssueJob], str | None]:
    permit(vault, who, Action.TOKEN_READ)
    with vault.database.reading() as work:
        return work.issuing.page(filters, after, limit)


def batch(vault: Vault, who: Principal, name: str) -> Document:
    """What became of a batch: cards in, out, spoiled, and those that still wait."""
    permit(vault, who, Action.TOKEN_READ)
    with vault.database.reading() as work:
        found = work.issuing.batch(name)
        jobs, _ = work.issuing.page({"batch": name}, None, BATCH_LIMIT)
        items = [_piece(job, work.tokens.get(job.token)) for job in reversed(jobs)]
    count = {str(each): found.get(str(each), 0) for each in Standing}
    spoiled = count[Standing.QUARANTINED] + count[Standing.ABANDONED]
    total, out = sum(found.values()), count[Standing.DONE]
    told: Document = {
        "tokens": total,
        "out": out,
        "spoiled": spoiled,
        "open": total - out - spoiled,
    }
    return {"batch": name, **told, "standing": dict(count), "items": items}


def _piece(job: IssueJob, token: Token) -> Document:
    own = {"serial": token.serial, "holder": token.holder, "standing": str(job.standing)}
    cause = str(job.facts.get("cause", "")) if job.standing is not Standing.DONE else ""
    return {"job": str(job.id), "token": str(job.token), **own, "cause": cause}


def abandon(vault: Vault, who: Principal, job_id: UUID, reason: str) -> IssueJob:
    """End a job for good: the certificates that it led to are revoked, the token let go."""
    permit(vault, who, Action.TOKEN_ISSUE)
    job = get(vault, who, job_id)
    ended = job.to(Standing.ABANDONED, cause=reason)
    if job.standing is not Standing.QUARANTINED:
        tokens.let_go(vault, who, job.token, job.id, reason)
    return VaultHouse(vault, who, trusted=False).save(ended, "abandoned")


# At a desk ------------------------------------------------------------------------------------


def begin(
    vault: Vault, who: Principal, job_id: UUID, station: str, atr: bytes, protocol: int
) -> tuple[UUID, Message]:
    """A token is in a reader: go on with its job there. Return the session and what to do first.

    Raises `IssueStateError` where the job has ended, or was interrupted so often by one person
    that another has to look.
    """
    permit(vault, who, Action.TOKEN_ISSUE)
    place = station_of(vault, station)
    if vault.relays.busy(job_id, who.id):  # first of all: a session that is ended writes its end
        raise IssueStateError("a desk works on this job now")
    with vault.database.reading() as work:
        job = work.issuing.get(job_id)
    _check_begin(job, who)
    if job.standing is not Standing.OPEN:
        job = job.to(Standing.OPEN)
    job = replace(job, station=station, actor=job.actor if job.actor == who.id else who.id)
    house = VaultHouse(vault, who, trusted=place.trusted)
    opened = house.save(job.noting(atr=atr.hex()), "inserted")
    relay = Relay(atr, TransmissionProtocol(protocol), vault.settings.issuing.idle)
    relay.run(lambda over: _worked(over, opened, house, vault))
    session = vault.relays.add(relay, who.id, job_id)
    return session, said(relay, None)


def _check_begin(job: IssueJob, who: Principal) -> None:
    if job.resumes >= SECOND_PERSON_AFTER and job.actor == who.id:
        raise IssueStateError(
            f"this job was interrupted {job.resumes} times",
            next_step="let another issuer look at the token, and go on with it",
        )
    if job.standing is Standing.AWAITING and job.awaited:
        raise IssueStateError(
            f"there is no certificate for {', '.join(job.awaited)} yet",
            next_step=f"when it comes: keyvault issuing take {job.id} FILE",
        )


def exchange(vault: Vault, who: Principal, session: UUID, answer: Message | None) -> Message:
    """Take a desk's answer and say what is next. What the token did wrong is a message, too."""
    return said(vault.relays.get(session, who.id), answer)


def said(relay: Line, answer: Message | None) -> Message:
    try:
        return relay.exchange(answer)
    except HsmError as error:
        told = {"code": error.code, "detail": str(error), "next_step": error.next_step}
        return {"do": "failed", **told}


def hang_up(vault: Vault, who: Principal, session: UUID) -> None:
    """The desk ends the session: to the job, the token was pulled."""
    vault.relays.get(session, who.id).hang_up()


def _worked(relay: Relay, job: IssueJob, house: VaultHouse, vault: Vault) -> Message:
    house.tell, house.tracing = relay.tell, Tracing(vault, relay, job.id, job.station)
    driver = _driver(relay, job, house, vault)
    try:
        done = personalise(driver, job, house)
    except CardForeignError as error:
        house.turned_away(job.id, error)
        raise
    return {"job": str(done.id), "standing": str(done.standing), "guidance": guidance(done)}


def _driver(relay: Relay, job: IssueJob, house: VaultHouse, vault: Vault) -> TokenDriver:
    known_file = vault.settings.issuing.profiles
    if job.kind == TokenKind.PKCS11:
        return Pkcs11Token(relay.call, job.token, load(known_file), lambda: house.opened(job.id))
    try:
        card = PivCard(Channel(relay))
        known = profiles.load(known_file)
        profile = profiles.recognise(known, relay.atr, card.label)
    except Exception as error:
        house.interrupted(job, error)
        raise
    own = GateOwnKey(vault.gate, job.token.bytes, int(str(job.facts["master"])), house.trusted)
    return token_of(card, profile, own, channel=job.channel)


def station_of(vault: Vault, name: str) -> StationSettings:
    known = {station.name: station for station in vault.settings.issuing.stations}
    if name not in known:
        raise NotPermittedError(
            f"no station is called {name[:40]!r}",
            next_step=f"use one of: {', '.join(sorted(known)) or 'none is in the settings'}",
        )
    return known[name]


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []
