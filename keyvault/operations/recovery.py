"""The way back after a true loss: people approve that an older copy of the log goes on.

It is held on the service's own host while nothing is served, since nothing is served from such a
copy. The log says for ever that events are lost, between which, and who agreed.
"""

import secrets
from collections.abc import Callable, Sequence
from uuid import uuid4

from keyvault import signatures
from keyvault.domain.approvals import Approval, Request, Seen, new_request
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.commands import RecoverLog
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.quorum import clear
from keyvault.operations.vault import Vault
from keyvault.witness import anchors

Ask = Callable[..., Document]
"""(method, *arguments) → the log gate's answer."""


def propose(vault: Vault, seen: Document, requester: str, reason: str) -> Request:
    """Write what has to be approved. `seen` is what the log gate says it has sealed.

    Raises `InvalidInputError` where nothing is lost: then there is nothing to recover.
    """
    with vault.database.reading() as work:
        head, authority = work.audit.head(), vault.authority(work)
        lost = anchors.Anchor("the token of the log", seen["size"], bytes(seen["root"]))
        if not anchors.contradicts(lost, head.size, work.audit.hashes()):
            raise InvalidInputError(
                "the log holds all that its token has seen", next_step="start the service"
            )
    gone = seen["size"], bytes(seen["root"]).hex()
    command = RecoverLog(head.size, head.root.hex(), *gone, seen["epoch"] + 1, reason)
    return new_request(
        request_id=uuid4(),
        origin=vault.settings.origin,
        command=command,
        scope=None,
        rule=authority.rule_in_force(command, ""),
        requester=requester,
        now=vault.clock(),
        nonce=secrets.token_bytes(16),
        seen=Seen(head.size, head.root.hex()),
    )


def recover(vault: Vault, request: Request, approvals: Sequence[Approval], ask: Ask) -> Document:
    """Begin the new epoch: first in the log, then at its gate, which checks the approvals too.

    If the gate says no, nothing is served, and it can be done again.
    """
    with vault.database.work() as work:
        authority, command = vault.authority(work), request.command
        rule = authority.rule_in_force(command, "")
        electorate, now = authority.electorate, vault.clock()
        clear(electorate, rule, request, approvals, signatures.verify, now)
        if work.audit.head().size != request.seen.size:
            raise InvalidInputError("the log has grown meanwhile", next_step="stop everything")
        records = [record.document() for record in work.authority.records()]
        newest = work.audit.checkpoint()
        work.commit(_recovered(request, approvals))
    signed = [approval.document() for approval in approvals]
    done = ask("recover", records, request.document, signed)
    if vault.settings.anchor is not None and newest is not None:
        anchors.write(vault.settings.anchor, newest.note)
    return done


def _recovered(request: Request, approvals: Sequence[Approval]) -> AuditEvent:
    return AuditEvent(
        type=EventType.LOG_RECOVERED,
        outcome=Outcome.OK,
        operation=request.id,
        stream="log",
        actor=f"person:{request.requester}",
        payload={
            "request": request.document,
            "approvals": [approval.document() for approval in approvals],
            **request.command.parameters(),
        },
    )
