"""What others than the web process notice: tampering with authority, with sessions, at the gates.

The clerk looks at each turn and writes an event of what is new. It holds no state of its own: what
was told before, the log says.
"""

import json
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

from hsm.errors import HsmError
from keyvault import wire
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import AuthorityError, VaultError
from keyvault.operations.people import was_closed
from keyvault.operations.vault import Vault
from keyvault.store.audit import LoggedEvent
from keyvault.store.unit_of_work import Reading

ACTOR = "service:clerk"
AUTHORITY_STREAM = "authority-check"
STATUS_TIMEOUT = 2.5  # seconds


def authority(vault: Vault) -> int:
    """Write down that the chain of authority is refused, or holds again; return how many events."""
    reason = ""
    try:
        check_records(vault)
    except AuthorityError as error:
        reason = str(error)
    with vault.database.reading() as work:
        if reason == _told(work):
            return 0
    with vault.database.work() as work:
        kind = EventType.AUTHORITY_REJECTED if reason else EventType.AUTHORITY_RECOVERED
        work.commit(_event(kind, AUTHORITY_STREAM, {"reason": reason}, good=not reason))
    return 1


def check_records(vault: Vault) -> None:
    """Raise `AuthorityError` unless every record in the database is the one that was verified.

    Who has verified a record holds on to it, so a change of an old one would be seen at the next
    start only: here all of them are held against one another, by their hashes. The newest has to
    be the one that the log tells of, and the gate gets to know it.
    """
    vault.check_authority()
    with vault.database.reading() as work:
        records = work.authority.records()
    for earlier, later in pairwise(records):
        if (later.number, later.previous) != (earlier.number + 1, earlier.hash):
            raise AuthorityError(f"authority record {earlier.number} is gone or was changed")
    with suppress(HsmError):
        vault.gate.push_authority()


def _told(work: Reading) -> str:
    return str(_payload(work.audit.newest_of(AUTHORITY_STREAM)).get("reason", ""))


def gates(vault: Vault) -> int:
    """Write down what the gates refused since the last time; return how many events."""
    settings = vault.settings
    places = {"log": settings.log.socket}
    for number, socket in enumerate(settings.keys.sockets, 1):
        places["keys" if number == 1 else f"keys-{number}"] = socket
    return sum(_gate(vault, name, socket) for name, socket in places.items())


def _gate(vault: Vault, name: str, socket: Path) -> int:
    refused = _refused(socket)
    if not refused.get("count"):
        return 0
    stream = f"gate:{name}"
    with vault.database.reading() as work:
        before = _payload(work.audit.newest_of(stream))
    known = int(before["count"]) if before.get("boot") == refused["boot"] else 0
    if refused["count"] <= known:
        return 0
    new = [one for one in refused["newest"] if one["number"] > known]
    told: Document = {"boot": refused["boot"], "count": refused["count"], "refusals": new}
    with vault.database.work() as work:
        work.commit(_event(EventType.GATE_REFUSED, stream, told))
    return 1


def _refused(socket: Path) -> Document:
    """Ask a gate. One that is away, or that does not serve this user, has nothing to tell."""
    client = wire.Client(socket)
    try:
        return dict(client.call("status", timeout=STATUS_TIMEOUT)["refused"])
    except (OSError, HsmError, VaultError):
        return {}
    finally:
        client.close()


def sessions(vault: Vault) -> int:
    """Close sessions that were closed before, and write down that somebody opened them again."""
    with vault.database.reading() as work:
        live = work.sessions.live(vault.clock())
        again = [one for one in live if was_closed(work, *one)]
    for spki_sha256, person, _ in again:
        with vault.database.work() as work:
            work.sessions.close(spki_sha256)
            told: Document = {"session": spki_sha256}
            work.commit(_event(EventType.SESSION_REOPENED, f"person:{person}", told))
    return len(again)


def _payload(event: LoggedEvent | None) -> Document:
    """What was told last. Erased payloads are told again."""
    return dict(json.loads(event.payload)) if event is not None and event.payload else {}


def _event(kind: EventType, stream: str, payload: Document, *, good: bool = False) -> AuditEvent:
    outcome = Outcome.OK if good else Outcome.REFUSED
    return AuditEvent(kind, outcome, uuid4(), stream, ACTOR, payload)
