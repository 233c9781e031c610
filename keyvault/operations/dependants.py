"""What depends on a key: as long as there is any of it, the key is not destroyed."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from keyvault.domain.authority import Authority
from keyvault.domain.certificates import GOOD, OPEN, Certificate
from keyvault.domain.custody import KeyHold
from keyvault.domain.errors import KeyNeededError
from keyvault.domain.keys import Key, KeyState
from keyvault.store.unit_of_work import Reading

SHOWN = 50  # wrapped keys that are named; the rest is counted


@dataclass(frozen=True, slots=True)
class Dependants:
    """What would miss the key. `wrapped` names the first of the `wrapped_count` keys under it."""

    holds: tuple[KeyHold, ...]
    certificates: tuple[Certificate, ...]
    wrapped: tuple[UUID, ...]
    wrapped_count: int
    successor: UUID | None  # one that has not taken over yet
    systems: tuple[str, ...]

    def reasons(self) -> list[str]:
        """Say in words what stands in the way of destroying the key, if anything does."""
        said = [
            f"hold {one.id} ({one.kind}), set by {one.set_by}: {one.reason}" for one in self.holds
        ]
        said += [f"certificate {one.id} is {one.state}" for one in self.certificates]
        if self.wrapped_count:
            said.append(f"{self.wrapped_count} keys rest wrapped under it")
        if self.successor:
            said.append(f"its successor {self.successor} is not active yet")
        return [*said, *(f"system {name} is enrolled for it by name" for name in self.systems)]


def dependants_of(work: Reading, authority: Authority, key: Key, now: datetime) -> Dependants:
    """Find whatever depends on a key at `now`."""
    wrapped, count = work.keys.wrapped_under(key.id, SHOWN)
    return Dependants(
        holds=tuple(one for one in work.custody.holds(key.id) if one.lifted_at is None),
        certificates=tuple(
            one for one in work.certificates.of_key(key.id) if one.at(now) in OPEN | GOOD
        ),
        wrapped=tuple(wrapped),
        wrapped_count=count,
        successor=_waiting_successor(work, key),
        systems=tuple(
            sorted(
                system.id
                for system in authority.systems.values()
                if str(key.id) in system.keys and now < system.until
            )
        ),
    )


def _waiting_successor(work: Reading, key: Key) -> UUID | None:
    successor = work.keys.successor_of(key.id)
    if successor is None or work.keys.get(successor).state is not KeyState.PRE_ACTIVE:
        return None
    return successor


def check_free(work: Reading, authority: Authority, key: Key, now: datetime) -> None:
    """Raise `KeyNeededError`, which lists everything, unless the key may be destroyed."""
    if reasons := dependants_of(work, authority, key, now).reasons():
        raise KeyNeededError(
            f"the key is not destroyed: {'; '.join(reasons)}",
            next_step=f"end what depends on it: keyvault keys dependants {key.id}",
        )
