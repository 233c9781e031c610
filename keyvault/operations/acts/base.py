"""What every family of acts gives to the engine that carries them out (`executors`)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from keyvault.domain.approvals import ApprovalRequest
from keyvault.domain.audit import AuditEvent, EventType
from keyvault.domain.authority import Authority
from keyvault.domain.canonical import Document
from keyvault.domain.commands import Command
from keyvault.domain.scopes import Scope
from keyvault.gate.client import Gate
from keyvault.operations.vault import Vault
from keyvault.store.unit_of_work import Work


@dataclass(frozen=True, slots=True)
class Asking:
    """What somebody wants, while it is looked at whether it could ever be done."""

    work: Work
    authority: Authority
    scope: Scope | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Acting:
    """A request under way, and for whom its events speak.

    `also` are events beside its own, that are committed with it.
    """

    vault: Vault
    actor: str
    role: str
    asked: ApprovalRequest  # in state executing
    also: list[AuditEvent] = field(default_factory=list)

    @property
    def command(self) -> Command:
        return self.asked.request.command

    @property
    def id(self) -> UUID:
        return self.asked.request.id


@dataclass(frozen=True, slots=True)
class Act:
    """How one command is carried out.

    `check` raises `VaultError` where it is clear that it could never be done. `settle` writes the
    state that follows from what the gate `made` and returns what is recorded; it is given the
    command, too. `device` says that a gate acts in between, and `gate` which. `after` does what
    can wait for the commit, and never raises `VaultError`. An act that `opens` something goes on
    until people have done their part: then it is settled. `lapse` is told when nothing came of it.
    """

    event: EventType
    check: Callable[[Asking, Any], None]
    settle: Callable[[Acting, Work, Any, Document], Document]
    device: bool = True
    after: Callable[[Acting], None] = lambda _: None
    opens: Callable[[Acting, Work, Any, Document], Document] | None = None
    lapse: Callable[[Acting, Work], None] = lambda _, __: None
    gate: Callable[[Vault], Gate] = lambda vault: vault.gate
