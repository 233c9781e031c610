"""Papers that go with a token: the PIN, printed once, and the label of its envelope."""

from base64 import b64decode
from datetime import datetime
from uuid import UUID

from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import EventType
from keyvault.domain.errors import IssueStateError, NotPermittedError
from keyvault.domain.issuing import PinRoute, Standing
from keyvault.operations.issuing_house import event
from keyvault.operations.vault import Vault, permit
from keyvault.paper import Paper


def pin_mailer(vault: Vault, who: Principal, job_id: UUID) -> bytes:
    """The PIN of a finished token as a PDF. Printed once: afterwards nobody can read it here.

    It is sealed for good before it is handed out, so a mailer that is lost in the printer means
    a new PIN, not a second copy. Raises `NotPermittedError` for whoever made the token.
    """
    permit(vault, who, Action.TOKEN_VET)
    with vault.database.reading() as work:
        job = work.issuing.get(job_id)
        token = work.tokens.get(job.token)
    if job.standing is not Standing.DONE or job.facts["pin_route"] != PinRoute.MAILER:
        raise IssueStateError(
            "only a token that is done, and whose PIN is sent, has a PIN to print",
            next_step="see the job: keyvault issuing show",
        )
    if who.id == job.actor:
        raise NotPermittedError(
            "whoever made the token does not print its PIN", next_step="let somebody else do it"
        )
    sealed = b64decode(job.by_slot("sealed")["pin"])
    pin = vault.gate.card_open(token.id.bytes, "pin", sealed)
    vault.gate.card_close(token.id.bytes, sealed)
    with vault.database.work() as work:
        work.commit(event(EventType.PIN_MAILED, who, job, {"holder": token.holder}))
    return _mailer(token.holder, token.serial, pin, vault.clock())


def _mailer(holder: str, serial: str, pin: bytes, at: datetime) -> bytes:
    paper = Paper("PIN of your token", at)
    paper.facts([("for", holder), ("token", serial), ("PIN", pin.decode())])
    paper.text("Change this PIN when you activate the token, and destroy this paper then.")
    paper.text("If the envelope was open when it reached you, do not use the token: report it.")
    return paper.pdf()
