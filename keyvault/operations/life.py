"""The whole life of a key, and what ends when."""

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from keyvault.domain.access import Action, Principal, readable
from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.authority import Authority
from keyvault.domain.keys import Key
from keyvault.domain.life import Ending, Moment, verbs, words
from keyvault.domain.scopes import Scope
from keyvault.operations import keys
from keyvault.operations.certificates import scopes_for
from keyvault.operations.vault import Vault, key_stream, permit
from keyvault.store.audit import LoggedEvent

MOMENTS = 1_000  # of one life; uses are counted beside them


@dataclass(frozen=True, slots=True)
class Life:
    """What the log holds of a key, the oldest first. `more` says that there are later moments."""

    key: Key
    verbs: dict[str, datetime | None]
    moments: list[Moment]
    more: bool
    uses: int
    first_use: datetime | None
    last_use: datetime | None


def of(vault: Vault, who: Principal, key_id: UUID) -> Life:
    """Tell a key's whole life; its uses are counted, and everything else is told."""
    key = keys.get(vault, who, key_id)
    with vault.database.reading() as work:
        authority = vault.authority(work)
        stream = key_stream(key_id)
        found = work.audit.without(stream, EventType.KEY_USED, MOMENTS + 1)
        uses, first, last = work.audit.tally(stream, EventType.KEY_USED)
    moments = [_moment(authority, event) for event in found[:MOMENTS]]
    return Life(key, verbs(moments), moments, len(found) > MOMENTS, uses, first, last)


def _moment(authority: Authority, event: LoggedEvent) -> Moment:
    header = event.header
    kind, outcome, actor = EventType(header["ty"]), Outcome(header["out"]), header["ac"]
    payload = json.loads(event.payload) if event.payload else {}
    sentence = words(kind, outcome, _named(authority, actor), payload)
    return Moment(event.time, event.index, kind, outcome, actor, sentence)


def _named(authority: Authority, actor: str) -> str:
    person = authority.people.get(actor.removeprefix("person:"))
    return f"{person.name} ({person.id})" if person and actor == person.actor else actor


def forecast(vault: Vault, who: Principal, scope: Scope | None = None) -> list[Ending]:
    """Count what ends within 180 days, by class and scope, as far as the caller may see it."""
    scopes = scopes_for(vault, who, scope) if scope else _own(vault, who)
    with vault.database.reading() as work:
        return work.forecast.endings(vault.clock(), {scope} if scope else scopes)


def _own(vault: Vault, who: Principal) -> frozenset[Scope] | None:
    permit(vault, who, Action.KEY_READ)
    return readable(who, Action.KEY_READ, vault.clock())
