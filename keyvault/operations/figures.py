"""Figures for operators: how much there is of what, read when a monitoring system asks."""

from dataclasses import dataclass

from keyvault.domain.access import Action, Principal
from keyvault.domain.keys import KeyState
from keyvault.domain.quorums import Quorum
from keyvault.operations import (
    backup_watch,
    expiry,
    health,
    quorums,
    reconciliation,
    revocation,
    stations,
)
from keyvault.operations.vault import Vault, permit
from keyvault.operations.witnesses import Standing, levels, standings


@dataclass(frozen=True, slots=True)
class Figures:
    gates_up: list[bool]  # the first, which acts on keys, and those beside it
    log_events: int
    log_sealed: int  # covered by the newest checkpoint
    keys: dict[KeyState, int]
    log_witnessed: int  # covered by a checkpoint that a quorum of witnesses has cosigned
    witnesses: list[Standing]
    certificates: expiry.Watch
    quorums: tuple[Quorum, ...]
    reconciled: reconciliation.State
    backups: backup_watch.Watch
    lists: list[revocation.Freshness]
    tokens: dict[str, int]
    desks: list[stations.Outlook]


def read(vault: Vault, who: Principal) -> Figures:
    """Count. A gate that does not answer is a figure too, not an error."""
    permit(vault, who, Action.METRICS_READ)
    with vault.database.reading() as work:
        counts = work.keys.count_by_state()
        size, covered = work.audit.head().size, levels(vault, work)
        each = standings(vault, work)
        backups, tokens = backup_watch.watch(vault, work), work.tokens.counts()
        certificates, rules = expiry.watch(vault, work), quorums.current(vault, work)
        desks = stations.current(vault, work)
    return Figures(
        gates_up=[not why for why in health.silences(vault)],
        log_events=size,
        log_sealed=covered.sealed,
        keys={state: counts.get(state, 0) for state in KeyState},
        log_witnessed=covered.witnessed,
        witnesses=each,
        certificates=certificates,
        quorums=rules,
        reconciled=reconciliation.state(vault),
        backups=backups,
        lists=revocation.freshness(vault),
        tokens=tokens,
        desks=desks,
    )
