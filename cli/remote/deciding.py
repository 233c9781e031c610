"""One decision: the request built anew, the log compared, the screen read, then the signature."""

from base64 import b64decode
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from cli.confirm import confirm
from cli.desk.signing import Place, place_of
from cli.passphrases import Secrets
from cli.remote import log
from cli.remote.client import Server
from cli.remote.requests import check_rule, rebuilt
from cli.remote.screens import Pairs, about_key, about_request, key_of
from cli.state import Session, remembered
from keyvault.domain.approvals import Approval, Decision, Request, Seen
from keyvault.domain.canonical import Document
from keyvault.domain.people import thumbprint
from keyvault.domain.times import text_of


@dataclass(frozen=True, slots=True)
class Wish:
    """What the person at the terminal wants to sign, and with what."""

    decision: Decision
    reason: str
    place: Place | None  # None for that of the login
    passphrase_fd: int | None
    yes: bool


def decide_here(here: Session, request_id: UUID, wish: Wish) -> Document:
    """Sign and hand in a decision. Raises `LogForkError` rather than sign on a rewritten log."""
    server = Server.of(here)
    asked = rebuilt(server.get(f"/v1/requests/{request_id}"))
    request, view = asked.request, log.look(server, here)
    key = key_of(server, request.command)
    key_class = getattr(request.command, "key_class", None) or (key or {}).get("key_class", "")
    check_rule(request, view.authority, str(key_class))
    log.in_order(server, request.seen, view.seen)
    log.keep(here, view)
    pairs = [*about_request(request, asked, view.authority), *about_key(key)]
    told = ("log", f"{view.seen.size} events, consistent with what was seen here before")
    keys = log.deciding(view.authority, here.person)
    approval = _signed(here, request, view.seen, wish, [*pairs, told], keys)
    return server.post(f"/v1/requests/{request_id}/approvals", approval.document())


def decide_offline(here: Session, item: Document, wish: Wish) -> Document:
    """Sign a request that came as a file; the log cannot be compared, and the screen says so."""
    asked = rebuilt(item)
    memory = remembered(here.folder, asked.request.origin)
    seen = Seen(memory.size, memory.root) if memory else asked.request.seen
    told = ("log", "NOT compared, since this is offline: compare check words with the requester")
    pairs = [*about_request(asked.request, asked, None), told]
    keys = [b64decode(key) for key in here.deciding]
    approval = _signed(here, asked.request, seen, wish, pairs, keys)
    return {"request": str(asked.request.id), "approval": approval.document()}


def _signed(
    here: Session,
    request: Request,
    seen: Seen,
    wish: Wish,
    pairs: Pairs,
    keys: Collection[bytes],
) -> Approval:
    title = f"{wish.decision} as {here.person}"
    confirm(title, [*pairs, ("your reason", wish.reason or "none given")], yes=wish.yes)
    place = wish.place or place_of(here.credential)
    signer = place.to_decide(Secrets(wish.passphrase_fd), keys)
    unsigned = Approval(
        approver=here.person,
        credential=thumbprint(signer.spki),
        decision=wish.decision,
        reason=wish.reason,
        at=text_of(datetime.now(UTC)),
        seen=seen,
    )
    return replace(unsigned, signature=signer.sign(unsigned.message(request.document)))
