"""The service's wrapping keys: what rests under each, and bringing all of it under the newest.

Each batch is a transaction with its event. The old record stays until the new one is committed
and the old key until nothing rests under it, so a run that is cut off is just run again.
"""

from dataclasses import dataclass
from uuid import UUID, uuid4

from hsm.types import WrappedKey
from keyvault.domain.access import Action, Principal
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.keys import kek_name, service_key_id
from keyvault.domain.standing import Reach
from keyvault.operations.vault import Vault, permit
from keyvault.store.unit_of_work import Reading

BATCH = 64


@dataclass(frozen=True, slots=True)
class Kek:
    """One wrapping key that is on the token, and how many keys rest under it."""

    number: int
    newest: bool
    keys: int
    first: tuple[UUID, ...]  # of them


@dataclass(frozen=True, slots=True)
class Run:
    """What one batch did, and what is left to do. What failed stays as it was.

    `last` is the key at which the batch ended: the next one begins behind it, so that what fails
    holds up nothing. None at the end of all.
    """

    done: int
    failed: tuple[tuple[str, str], ...]  # key, why
    left: int
    last: UUID | None


def listed(vault: Vault, who: Principal) -> list[Kek]:
    """List the wrapping keys with what depends on each."""
    permit(vault, who, Action.KEY_READ, where=Reach.ALL)
    numbers = vault.gate.keks()
    with vault.database.reading() as work:
        return [_kek(work, number, numbers[-1]) for number in numbers]


def _kek(work: Reading, number: int, newest: int) -> Kek:
    first, count = work.keys.wrapped_under(UUID(bytes=service_key_id(kek_name(number))), 50)
    return Kek(number, number == newest, count, tuple(first))


def rewrap(vault: Vault, who: Principal, after: UUID | None = None) -> Run:
    """Bring the next batch of keys, by their ids behind `after`, under the newest wrapping key."""
    permitted = permit(vault, who, Action.KEY_RECONCILE, where=Reach.ALL)
    newest = service_key_id(kek_name(vault.gate.keks()[-1]))
    with vault.database.reading() as work:
        old = work.keys.resting_elsewhere(newest, BATCH, after)
        left = work.keys.count_elsewhere(newest)
    if not old:
        return Run(0, (), left, None)
    answers = list(zip(old, vault.gate.rewrap(old), strict=True))
    pairs = [(one, new) for one, new in answers if isinstance(new, WrappedKey)]
    failed = tuple(
        (str(UUID(bytes=one.spec.key_id)), new) for one, new in answers if isinstance(new, str)
    )
    with vault.database.work() as work:
        done = [new for one, new in pairs if work.keys.rewrap(one, new)]
        work.commit(_event(who, permitted.role, done, failed, newest))
    last = UUID(bytes=old[-1].spec.key_id) if len(old) == BATCH else None
    return Run(len(done), failed, left - len(done), last)


def _event(
    who: Principal,
    role: str,
    done: list[WrappedKey],
    failed: tuple[tuple[str, str], ...],
    newest: bytes,
) -> AuditEvent:
    told: Document = {
        "kek": str(UUID(bytes=newest)),
        "keys": [str(UUID(bytes=one.spec.key_id)) for one in done],
        "failed": [{"key": key, "reason": reason} for key, reason in failed],
    }
    return AuditEvent(
        type=EventType.KEK_REWRAPPED,
        outcome=Outcome.FAIL if failed else Outcome.OK,
        operation=uuid4(),
        stream="keks",
        actor=who.actor,
        role=role,
        payload=told,
    )
