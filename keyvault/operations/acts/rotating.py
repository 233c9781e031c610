"""The service's wrapping keys: the next one is made, an older one destroyed."""

from uuid import UUID

from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document
from keyvault.domain.commands import RetireKek, RotateKek
from keyvault.domain.errors import InvalidInputError, KeyNeededError
from keyvault.domain.keys import MAX_KEKS, kek_name, service_key_id
from keyvault.operations.acts.base import Act, Acting, Asking
from keyvault.store.unit_of_work import Reading, Work


def _check_rotate(_: Asking, command: RotateKek) -> None:
    if not 1 < command.number <= MAX_KEKS:
        raise InvalidInputError(f"the next wrapping key has a number from 2 to {MAX_KEKS}")


def _check_retire(asking: Asking, command: RetireKek) -> None:
    _check_free(asking.work, command)


def _check_free(work: Reading, command: RetireKek) -> None:
    _, count = work.keys.wrapped_under(UUID(bytes=service_key_id(kek_name(command.number))), 1)
    if count:
        raise KeyNeededError(
            f"{count} keys rest under wrapping key {command.number}",
            next_step="bring them under the newest one: keyvault keks rewrap",
        )


def _made(acting: Acting, __: Work, command: RotateKek, made: Document) -> Document:
    return {"key": str(acting.id), "number": command.number, "check_value": made["check_value"]}


def _gone(acting: Acting, __: Work, command: RetireKek, made: Document) -> Document:
    return {"key": str(acting.id), "number": command.number, "destroyed": made["destroyed"]}


ACTS = {
    RotateKek: Act(EventType.KEK_ROTATED, _check_rotate, _made),
    RetireKek: Act(EventType.KEK_RETIRED, _check_retire, _gone),
}
