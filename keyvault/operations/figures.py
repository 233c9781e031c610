"""Figures for operators: how much there is of what, read when a monitoring system asks."""

from dataclasses import dataclass

from hsm.errors import HsmError
from keyvault.domain.access import Action, Principal
from keyvault.domain.errors import VaultError
from keyvault.domain.keys import KeyState
from keyvault.operations.vault import Vault, permit


@dataclass(frozen=True, slots=True)
class Figures:
    gate_up: bool
    log_events: int
    log_sealed: int  # covered by the newest checkpoint
    keys: dict[KeyState, int]


def read(vault: Vault, who: Principal) -> Figures:
    """Count. A gate that does not answer is a figure too, not an error."""
    permit(vault, who, Action.METRICS_READ)
    with vault.database.reading() as work:
        counts = work.keys.count_by_state()
        size, sealed = work.audit.head().size, work.audit.latest_checkpoint_size()
    keys = {state: counts.get(state, 0) for state in KeyState}
    return Figures(_is_up(vault), size, sealed, keys)


def _is_up(vault: Vault) -> bool:
    try:
        vault.gate.status()
    except (HsmError, VaultError, OSError):
        return False
    return True
