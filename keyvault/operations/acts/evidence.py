"""Erasing what events say: payload and salt go, the leaf and its proofs stay."""

from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document
from keyvault.domain.commands import Command, ErasePayload
from keyvault.domain.errors import InvalidInputError, NotFoundError
from keyvault.operations.acts.base import Act, Acting, Asking
from keyvault.store.unit_of_work import Reading, Work


def _check(asking: Asking, command: ErasePayload) -> None:
    _check_events(asking.work, command)


def _check_events(work: Reading, command: ErasePayload) -> None:
    """Approvals are the proof of what was done, so whatever carries some stays as it is."""
    for index in command.events:
        event = work.audit.event(index)
        if event.payload is None:
            raise NotFoundError(f"the payload of event {index} was erased before")
        if (
            event.header["ty"].startswith(("AUTHORITY.", "LOG."))
            or b'"approvals":' in event.payload
        ):
            raise InvalidInputError(
                f"event {index} is the proof of what people approved, and stays",
                next_step="leave it out; what it says of a person is what they signed",
            )


def _settle(acting: Acting, work: Work, command: ErasePayload, _: Document) -> Document:
    _check_events(work, command)
    work.erase(command.events, acting.vault.clock())
    return {"events": list(command.events), "ground": command.ground}


ACTS: dict[type[Command], Act] = {
    ErasePayload: Act(EventType.PAYLOAD_ERASED, _check, _settle, device=False)
}
