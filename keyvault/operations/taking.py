"""How each signed step changes the tokens that it is about, and what has to be so before."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.issuing import PinRoute
from keyvault.domain.people import Role
from keyvault.domain.standing import Reach, lapses
from keyvault.domain.statements import (
    Activate,
    Allocate,
    Count,
    Deliver,
    Destroy,
    Dispatch,
    GiveBack,
    HandOver,
    Nominate,
    Release,
    Resume,
    Said,
    TakeIn,
)
from keyvault.domain.times import day_after
from keyvault.domain.tokens import (
    MOVES,
    ON_THE_SHELF,
    PIN_CHOSEN,
    UNBLOCKS_A_YEAR,
    Token,
    TokenState,
)
from keyvault.operations import tokens
from keyvault.operations.steps import (
    STOCK,
    Taking,
    change,
    entered,
    event,
    handed,
    moved,
    stream_of,
    words,
)
from keyvault.store.tokens import DONE, SPENT

Checks = list[tuple[str, bool]]
YEAR = timedelta(days=365)


def check(step: Taking) -> list[str]:
    """Everything that is missing for a step, in words; empty if nothing is."""
    return [text for text, there in _CHECKS[type(step.statement.said)](step) if not there]


def take(step: Taking) -> list[AuditEvent]:
    """Do it: change the tokens and return the events. Everything was checked."""
    return _TAKES[type(step.statement.said)](step)


def refused(step: Taking, missing: list[str]) -> AuditEvent:
    said = step.statement.said
    kind = MOVES[said.step].event if said.step else EventType.TOKEN_SIGNED
    told = step.told(missing=missing)
    return event(step, kind, stream_of(step.statement), told, Outcome.REFUSED)


# Into stock, and to a person ------------------------------------------------------------------


def _check_take_in(step: Taking) -> Checks:
    said = words(step, TakeIn)
    known = [s for s in said.serials if step.work.tokens.known(said.model, s)]
    return [(f"in stock already: {', '.join(known)[:200]}", not known)]


def _take_in(step: Taking) -> list[AuditEvent]:
    said = words(step, TakeIn)
    events: list[AuditEvent] = []
    for serial in said.serials:
        token = Token(
            id=uuid4(),
            kind=said.kind,
            serial=serial,
            model=said.model,
            state=TokenState.STOCK,
            custodian=step.statement.person,
            place=said.place,
            seal=said.seal,
            batch=said.batch,
            created_at=step.now,
            changed_at=step.now,
        )
        step.work.tokens.add(token)
        entry = entered(step, token, said.supplier)
        both = step.told() if not events else {"statement_id": str(step.statement.id)}
        about: Document = {"token": str(token.id), "serial": serial, "model": said.model}
        stream = tokens.token_stream(token.id)
        events.append(event(step, EventType.TOKEN_STOCKED, stream, about | entry | both))
    return events


def _check_nominate(step: Taking) -> Checks:
    said = words(step, Nominate)
    return [
        (f"nobody is registered as {said.holder}", said.holder in step.authority.people),
        ("nobody nominates themselves", said.holder != step.statement.person),
    ]


def _nominate(step: Taking) -> list[AuditEvent]:
    return [event(step, EventType.TOKEN_NOMINATED, stream_of(step.statement), step.told())]


def _check_allocate(step: Taking) -> Checks:
    """The gates before a token is anybody's: who was named, vetted, and is to have it."""
    step.token()
    said = words(step, Allocate)
    record = step.work.tokens.statement(said.nomination)
    named = record.signed.statement
    if not isinstance(named.said, Nominate):
        return [("nomination: the statement is none", False)]
    holder = step.authority.people.get(named.said.holder)
    checks = [
        ("nomination: it was used", record.state == DONE),
        ("holder: nobody is registered under this name", holder is not None),
        ("registrar: who vets a person is not that person", named.said.holder != step.who.id),
        ("registrar: who nominates does not vet", named.person != step.who.id),
    ]
    if holder is None:
        return checks
    found = lapses(holder, step.authority.duties, Role.TOKEN_HOLDER, Reach.ANY, step.now)
    return [*checks, *((f"{lapse.code}: {lapse.text}", False) for lapse in found)]


def _allocate(step: Taking) -> list[AuditEvent]:
    said = words(step, Allocate)
    named: Any = step.work.tokens.statement(said.nomination).signed.statement.said
    step.work.tokens.spend(said.nomination, DONE, SPENT)
    _, done = change(
        step,
        step.token(),
        holder=named.holder,
        purpose=named.purpose,
        profile=named.profile,
        replaces=named.replaces,
    )
    return [done]


def _check_hand_over(step: Taking) -> Checks:
    token, said = step.token(), words(step, HandOver)
    return [
        ("who gives it has it", token.custodian == step.statement.person),
        ("who takes it signs beside them", said.to == step.statement.second),
        (f"a token that is {token.state} is not handed round", token.state in ON_THE_SHELF),
    ]


def _hand_over(step: Taking) -> list[AuditEvent]:
    before, said = step.token(), words(step, HandOver)
    token = before.with_(custodian=said.to, place=said.place, seal=said.seal, changed_at=step.now)
    step.work.tokens.change(token)
    return [handed(step, token, before.custodian)]


def _check_dispatch(step: Taking) -> Checks:
    token = step.token()
    return [("who sends it has it", token.custodian == step.statement.person)]


def _dispatch(step: Taking) -> list[AuditEvent]:
    said = words(step, Dispatch)
    _, done = change(
        step, step.token(), seal=said.seal, place=said.place, due_at=day_after(said.due)
    )
    return [done]


def _check_deliver(step: Taking) -> Checks:
    token, said = step.token(), words(step, Deliver)
    return [
        ("the receipt is signed by its holder", token.holder == step.statement.second),
        (f"the seal is {token.seal}, as it was sent", token.seal == said.seal),
    ]


def _deliver(step: Taking) -> list[AuditEvent]:
    said, before = words(step, Deliver), step.token()
    token, done = change(
        step, before, custodian=before.holder, place=said.place, seal="", due_at=None
    )
    return [done, handed(step, token, before.custodian)]


def _check_activate(step: Taking) -> Checks:
    token = step.token()
    others = [
        one
        for one in step.work.tokens.of_holder(token.holder)
        if one.state is TokenState.ACTIVE and one.purpose == token.purpose
    ]
    return [
        ("its holder activates it", token.holder == step.statement.person),
        (
            f"its holder chose a PIN: keyvault desk choose-pin {token.id}",
            token.facts.get("pin_route") != PinRoute.ACTIVATION or PIN_CHOSEN in token.facts,
        ),
        (
            f"there is an active token for {token.purpose}, which this one does not replace",
            all(one.id == token.replaces for one in others),
        ),
    ]


def _activate(step: Taking) -> list[AuditEvent]:
    token, done = change(step, step.token(), used_at=step.now)
    return [done, *tokens.superseded(step.work, step.who, token, step.now)]


# While it is in use, and its end ---------------------------------------------------------------


def _check_release(step: Taking) -> Checks:
    token = step.token()
    spent = [
        one
        for one in step.work.tokens.statements(token=token.id, step="release", state=SPENT)
        if step.now - one.at < YEAR
    ]
    return [
        ("its PIN is blocked", token.state is TokenState.PIN_BLOCKED),
        ("its holder signs neither", token.holder not in _signers(step)),
        ("it was unblocked too often this year: replace it", len(spent) < UNBLOCKS_A_YEAR),
    ]


def _signers(step: Taking) -> tuple[str, str]:
    return step.statement.person, step.statement.second


def _release(step: Taking) -> list[AuditEvent]:
    return [moved(step, step.token(), EventType.PIN_RELEASED)]


def _check_resume(step: Taking) -> Checks:
    token = step.token()
    tokens.check_found(token, step.now)
    return [("its holder signs neither", token.holder not in _signers(step))]


def _resume(step: Taking) -> list[AuditEvent]:
    return [change(step, step.token())[1]]


def _check_give_back(step: Taking) -> Checks:
    token, second = step.token(), step.statement.second
    gone = token.custodian not in step.authority.people
    return [("who has it gives it back, while they are here", gone or second == token.custodian)]


def _give_back(step: Taking) -> list[AuditEvent]:
    said, before = words(step, GiveBack), step.token()
    person = step.statement.person
    token, done = change(step, before, custodian=person, place=said.place, seal=said.seal)
    return [done, handed(step, token, before.custodian)]


def _check_destroy(step: Taking) -> Checks:
    token = step.token()
    return [("who destroys it has it", token.custodian == step.statement.person)]


def _destroy(step: Taking) -> list[AuditEvent]:
    said, token = words(step, Destroy), step.token()
    step.work.issued.revoke_token(token.id, "cessationOfOperation", step.now)
    return [change(step, token, place=said.place)[1]]


# The blind count ------------------------------------------------------------------------------


def _count(step: Taking) -> list[AuditEvent]:
    """Hold what was found against the ledger, which the counter was not shown."""
    said = words(step, Count)
    found = set(said.found or ())
    there = {
        f"{token.model} {token.serial}"
        for token in step.work.tokens.in_states(*ON_THE_SHELF)
        if token.place == said.place
    }
    missing, surplus = sorted(there - found), sorted(found - there)
    person = step.statement.person
    step.work.tokens.add_count(step.statement.id, said.place, person, missing, surplus, step.now)
    told = step.told(right=len(there & found))
    events = [event(step, EventType.STOCK_COUNTED, STOCK, told)]
    if missing or surplus:
        more: Document = {"statement": str(step.statement.id), "place": said.place}
        more |= {"missing": list(missing), "surplus": list(surplus)}
        kind, outcome = EventType.STOCK_DISCREPANCY, Outcome.FAIL
        events.append(event(step, kind, STOCK, more, outcome))
    return events


def _nothing(_: Taking) -> Checks:
    return []


_CHECKS: dict[type[Said], Callable[[Taking], Checks]] = {
    TakeIn: _check_take_in,
    Nominate: _check_nominate,
    Allocate: _check_allocate,
    HandOver: _check_hand_over,
    Dispatch: _check_dispatch,
    Deliver: _check_deliver,
    Activate: _check_activate,
    Release: _check_release,
    Resume: _check_resume,
    GiveBack: _check_give_back,
    Destroy: _check_destroy,
    Count: _nothing,
}
_TAKES: dict[type[Said], Callable[[Taking], list[AuditEvent]]] = {
    TakeIn: _take_in,
    Nominate: _nominate,
    Allocate: _allocate,
    HandOver: _hand_over,
    Dispatch: _dispatch,
    Deliver: _deliver,
    Activate: _activate,
    Release: _release,
    Resume: _resume,
    GiveBack: _give_back,
    Destroy: _destroy,
    Count: _count,
}
