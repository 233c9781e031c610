"""How far the outside world vouches for the log, and waiting for it where an act has to.

What is told to witnesses cannot be taken back. So an act that cannot be undone either, on the
device or in authority, is told first and done afterwards.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from keyvault.domain.approvals import RequestState
from keyvault.domain.audit import EventType
from keyvault.domain.commands import AUTHORITY_COMMANDS, Command
from keyvault.domain.errors import NotReadyError, NotWitnessedError
from keyvault.domain.policy import shown, stream_of
from keyvault.domain.witnessing import Levels
from keyvault.operations.vault import Vault, request_stream
from keyvault.store.audit import LoggedEvent
from keyvault.store.unit_of_work import Reading

Events = tuple[list[LoggedEvent], str | None, Levels]
"""A page of events, the cursor of the next one, and how far each level reaches."""
POLL = 0.1  # seconds
EVERY_AUTHORITY = "authority"  # in the settings: all commands that change it


def levels(vault: Vault, work: Reading) -> Levels:
    """Return how far seals and witnesses have come."""
    return Levels(work.audit.latest_checkpoint_size(), vault.cosigned.size(work.audit))


def waits(vault: Vault, command: Command) -> bool:
    """Whether the settings want this act witnessed before it is done."""
    wanted = _waited_for(vault)
    of_authority = isinstance(command, AUTHORITY_COMMANDS) and EVERY_AUTHORITY in wanted
    return of_authority or command.name in wanted


def _waited_for(vault: Vault) -> Collection[str]:
    if vault.settings.witnesses is None or not vault.cosigned.asks:
        return ()
    return vault.settings.witnesses.wait_for


def hold(vault: Vault, command: Command, index: int, next_step: str) -> None:
    """Wait until event `index` is witnessed, if the act has to. Raises `NotWitnessedError`.

    Between an act's intent and the device, so that nothing is done that could be untold.
    """
    if waits(vault, command) and not wait_for_size(vault, index + 1):
        raise NotWitnessedError(
            f"the witnesses have not seen event {index}, so {command.name} was not done",
            next_step=f"see keyvault health, wait for the witnesses, then {next_step}",
        )


def wait_for_size(vault: Vault, size: int) -> int:
    """Wait as long as the settings allow until so many events are witnessed.

    Returns how many are, which may be more; 0 where it took too long or nobody has to witness.
    """
    if vault.settings.witnesses is None or not vault.cosigned.asks:
        return 0
    until = time.monotonic() + vault.settings.witnesses.wait
    while True:
        with vault.database.reading() as work:
            witnessed = vault.cosigned.size(work.audit)
        if witnessed >= size:
            return witnessed
        if time.monotonic() > until:
            return 0
        time.sleep(POLL)


def hold_request(vault: Vault, request_id: UUID) -> None:
    """Wait until the approvals of a request are witnessed, before anything of it is begun.

    Where no quorum is to be had nothing has happened yet and the approvals stay good.
    """
    if not _waited_for(vault):
        return
    with vault.database.reading() as work:
        asked = work.requests.get(request_id)
        newest = work.audit.newest_of(request_stream(request_id))
    if newest is not None and asked.state is RequestState.APPROVED:
        hold(vault, asked.request.command, newest.index, "execute again")


@dataclass(frozen=True, slots=True)
class Standing:
    """One witness: how much it has cosigned, and what the log says last of it."""

    name: str
    cosigned: int
    trouble: str = ""  # empty while it cosigns


def standings(vault: Vault, work: Reading) -> list[Standing]:
    """Return where every witness of the policy stands; none without a policy."""
    if vault.cosigned.policy is None:
        return []
    parties = vault.cosigned.policy.witnesses.items()
    return [
        Standing(shown(name), work.audit.cosigned_by(party.key), _trouble(work, name))
        for name, party in parties
    ]


def _trouble(work: Reading, name: str) -> str:
    newest = work.audit.newest_of(stream_of(name))
    said = _SAID.get(EventType(newest.header["ty"])) if newest else None
    if newest is None or said is None:
        return ""
    return f"witness {shown(name)} {said} since {newest.time:%Y-%m-%d %H:%M} UTC"


_SAID = {EventType.WITNESS_FAILED: "gives no answer", EventType.WITNESS_REFUSED: "REFUSES"}


def check(vault: Vault) -> str:
    """Return what there is to say of the witnesses while their quorum holds.

    Raises `NotReadyError` where it has not been reached for longer than the settings allow.
    """
    if vault.settings.witnesses is None:
        return ""
    with vault.database.reading() as work:
        size, witnessed = work.audit.latest_checkpoint_size(), vault.cosigned.size(work.audit)
        said = "; ".join(s.trouble for s in standings(vault, work) if s.trouble)
        behind = vault.cosigned.asks and witnessed < size
        first = work.audit.event(witnessed).time if behind else vault.clock()
    seconds = int((vault.clock() - first).total_seconds())
    if seconds > vault.settings.witnesses.alarm_after:
        raise NotReadyError(
            f"{size - witnessed} events have waited {seconds} s for witnesses. {said}",
            next_step="see runbook witness-silent",
        )
    return said
