"""Compromise: declare it, see what it reaches, and tell those who have to know."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID, uuid4

from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document
from keyvault.domain.compromise import (
    Body,
    Case,
    File,
    Impact,
    NoticeSent,
    Section,
    Uses,
    draft,
)
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.keys import Key, KeyState
from keyvault.domain.times import text_of
from keyvault.operations import keys
from keyvault.operations.keys import Stop
from keyvault.operations.vault import Once, Vault, key_event, key_stream, permit, recall, remember
from keyvault.store.unit_of_work import Reading, Work

NAMED = 200  # certificates and wrapped keys that an event names; the rest is counted


def declare(
    vault: Vault,
    who: Principal,
    key_id: UUID,
    reason: str,
    known_at: datetime | None = None,
    once: Once | None = None,
    note: Callable[[Work, Key], Document] = lambda _, __: {},
) -> Key:
    """Declare a key compromised, or suspected, and open its case. It cannot be undone.

    The key is stopped before anybody looks what it reaches. `known_at` is now if nothing is said.
    Raises `InvalidInputError` where that lies ahead. `note` is as in `keys.Stop`.
    """
    if known_at is not None and known_at > vault.clock():
        raise InvalidInputError("a compromise cannot be known of before it is: mend known_at")

    def opened(work: Work, key: Key) -> Document:
        return {**_open(who, reason, known_at, work, key), **note(work, key)}

    how = Stop(KeyState.COMPROMISED, reason, opened)
    changed = keys.stop(vault, who, key_id, how, once)
    _list_impact(vault, who, changed)
    return changed


def _open(who: Principal, reason: str, known_at: datetime | None, work: Work, key: Key) -> Document:
    if key.compromised_at is None:
        raise AssertionError("a compromised key has the time of it")
    case = Case(key.id, known_at or key.compromised_at, key.compromised_at, who.actor, reason)
    work.compromises.add(case)
    return {"known_at": text_of(case.known_at), "declared_at": text_of(case.declared_at)}


def _list_impact(vault: Vault, who: Principal, key: Key) -> None:
    """Write down once what the key reaches; a repeated call finishes what was cut off."""
    with vault.database.work() as work:
        kind = EventType.KEY_IMPACT_LISTED
        case = work.compromises.find(key.id)
        if case is None or work.audit.tally(key_stream(key.id), kind)[0]:
            return
        found = _impact(vault, work, key, case)
        work.commit(key_event(kind, who.actor, "", key, _told(found)))


def _told(found: Impact) -> Document:
    uses = found.uses
    return {
        "certificates": [
            {"certificate": str(one.id), "serial": one.serial, "state": str(one.state)}
            for one in found.certificates[:NAMED]
        ],
        "certificate_count": len(found.certificates),
        "tokens": [str(one) for one in found.tokens],
        "token_count": found.token_count,
        "wrapped": [str(one) for one in found.wrapped],
        "wrapped_count": found.wrapped_count,
        "systems": list(found.systems),
        "uses": uses.events,
        "first_use": text_of(uses.first) if uses.first else None,
        "last_use": text_of(uses.last) if uses.last else None,
        "successor": str(found.successor) if found.successor else None,
    }


def _impact(vault: Vault, work: Reading, key: Key, case: Case) -> Impact:
    now, authority = vault.clock(), vault.authority(work)
    wrapped, count = work.keys.wrapped_under(key.id, NAMED)
    tokens, token_count = work.issued.tokens_of(key.id, NAMED)
    successor = work.keys.successor_of(key.id)
    tally = work.audit.tally(key_stream(key.id), EventType.KEY_USED, case.known_at)
    return Impact(
        certificates=tuple(work.certificates.of_key(key.id)),
        tokens=tuple(tokens),
        token_count=token_count,
        wrapped=tuple(wrapped),
        wrapped_count=count,
        systems=tuple(
            sorted(
                one.id
                for one in authority.systems.values()
                if now < one.until and one.may_use(str(key.id), key.scope)
            )
        ),
        uses=Uses(*tally),
        successor=successor,
        successor_state=work.keys.get(successor).state if successor else None,
    )


def get(vault: Vault, who: Principal, key_id: UUID) -> File:
    """Return a key's case as it stands. Raises `NotFoundError` where none was declared."""
    key = keys.get(vault, who, key_id)
    with vault.database.reading() as work:
        case = work.compromises.get(key_id)
        sent = tuple(work.compromises.notices(key_id))
        return File(key, case, _impact(vault, work, key, case), sent)


def notice(vault: Vault, who: Principal, key_id: UUID, to: Body) -> list[Section]:
    """Draft the notice to one body, from what is on record now."""
    return draft(get(vault, who, key_id), to, vault.clock())


def notice_sent(
    vault: Vault,
    who: Principal,
    key_id: UUID,
    to: Body,
    sent_at: datetime,
    reference: str,
    once: Once | None = None,
) -> NoticeSent:
    """Record that a body was told. Raises `InvalidInputError` if the time cannot be."""
    permitted = permit(vault, who, Action.KEY_COMPROMISE, keys.get(vault, who, key_id))
    made = NoticeSent(key_id, to, sent_at, reference, who.actor)
    with vault.database.work() as work:
        if recall(work, who, once):
            return made
        case, key = work.compromises.get(key_id), work.keys.get(key_id)
        _check_time(case, sent_at, vault.clock())
        work.compromises.add_notice(made, uuid4())
        remember(work, who, once, {"body": str(to)})
        payload: Document = {"body": str(to), "reference": reference}
        payload["sent_at"] = text_of(sent_at)
        work.commit(key_event(EventType.KEY_NOTICE_SENT, who.actor, permitted.role, key, payload))
    return made


def _check_time(case: Case, sent_at: datetime, now: datetime) -> None:
    if not case.known_at.replace(microsecond=0) <= sent_at <= now:
        raise InvalidInputError(
            "a notice is sent after the compromise is known, and not in the future",
            next_step="give the time at which it was sent, in UTC",
        )
