"""Changes of the rules themselves, each approved under the rule that it replaces."""

from dataclasses import dataclass

from keyvault.domain.commands.base import Command
from keyvault.domain.keys import KeyClass
from keyvault.domain.people import Duty
from keyvault.domain.rules import Rule, Standard


@dataclass(frozen=True, slots=True)
class SetRule(Command):
    """Add a rule, or replace the one with the same id."""

    name = "set-rule"
    rule: Rule
    reason: str


@dataclass(frozen=True, slots=True)
class RemoveRule(Command):
    name = "remove-rule"
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class SetKeyClass(Command):
    """Add a class of keys, or change what follows from it for keys made from now on."""

    name = "set-key-class"
    key_class: KeyClass
    reason: str


@dataclass(frozen=True, slots=True)
class SetDuty(Command):
    """A new duty, or the next version of one: its holders have to acknowledge it by its day."""

    name = "set-duty"
    duty: Duty


@dataclass(frozen=True, slots=True)
class SetSpareKey(Command):
    """The own key (SPKI, P-256) of the second token's gate: holders of shares believe it alone."""

    name = "set-spare-key"
    spki: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class SetStandard(Command):
    """An edition of a standard and the day from which it is in force here."""

    name = "set-standard"
    standard: Standard
