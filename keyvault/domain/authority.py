"""Who may do what: the state that a chain of signed records folds into, and questions to it."""

from dataclasses import dataclass, field
from datetime import datetime

from keyvault.domain.commands import PERSONAL_COMMANDS, Command, RemoveRule, SetRule
from keyvault.domain.errors import NotFoundError, RuleError
from keyvault.domain.keys import KeyClass
from keyvault.domain.people import Duty, Person, System
from keyvault.domain.quorum import OWN_RULE
from keyvault.domain.rules import Rule, Standard, strictest
from keyvault.domain.standing import Electorate

_PERSONAL = frozenset(command.name for command in PERSONAL_COMMANDS)


@dataclass(frozen=True, slots=True)
class Services:
    """Public keys of the service's own HSM keys, signed by every officer at genesis."""

    log_keys: tuple[str, ...]  # C2SP verifier keys
    session_ca: bytes  # SPKI
    evidence: bytes  # SPKI


@dataclass(frozen=True, slots=True)
class Authority:
    """What holds after record number `size` - 1. A value: the next record makes the next one."""

    origin: str
    site: str
    services: Services
    people: dict[str, Person]
    systems: dict[str, System]
    rules: tuple[Rule, ...]
    key_classes: dict[str, KeyClass]
    duties: tuple[Duty, ...]
    standards: tuple[Standard, ...]
    size: int
    head: str  # hash of the last record, hex
    at: datetime  # when that was carried out
    used: frozenset[str] = field(default_factory=frozenset)
    spare: bytes = b""  # SPKI of the own key of the second token's gate; empty until it is set

    @property
    def electorate(self) -> Electorate:
        return Electorate(self.people, self.duties)

    def rule_in_force(
        self, command: Command, key_class: str = "", *, break_glass: bool = False
    ) -> Rule:
        """The rule under which this is asked for. Changing a rule takes that rule, too.

        Raises `RuleError`.
        """
        rule = self.rule_for(command.name, key_class, break_glass=break_glass)
        match command:
            case SetRule(rule=Rule(id=changed)) | RemoveRule(rule=changed):
                old = [one for one in self.rules if one.id == changed]
                return rule.joined(old[0]) if old else rule
            case _:
                return rule

    def rule_for(self, command: str, key_class: str = "", *, break_glass: bool = False) -> Rule:
        """The strictest rule that covers the command. Raises `RuleError`: default is no."""
        if command in _PERSONAL:
            return OWN_RULE
        covering = [
            rule
            for rule in self.rules
            if rule.break_glass is break_glass and rule.covers(command, key_class)
        ]
        if not covering:
            how = " by breaking the glass" if break_glass else ""
            raise RuleError(f"no rule allows {command} for class {key_class or 'none'}{how}")
        return strictest(covering)

    def key_class(self, name: str) -> KeyClass:
        if name not in self.key_classes:
            raise NotFoundError(
                f"no key class is called {name[:40]!r}",
                next_step=f"use one of: {', '.join(sorted(self.key_classes))}",
            )
        return self.key_classes[name]

    def person(self, name: str) -> Person:
        if name not in self.people:
            raise NotFoundError(f"no person is called {name[:63]}")
        return self.people[name]

    def system(self, name: str) -> System:
        if name not in self.systems:
            raise NotFoundError(f"no system is called {name[:63]}")
        return self.systems[name]

    def duty(self, name: str) -> Duty:
        for duty in self.duties:
            if duty.name == name:
                return duty
        raise NotFoundError(
            f"no duty is called {name[:63]}",
            next_step=f"use one of: {', '.join(sorted(duty.name for duty in self.duties))}",
        )

    def person_of(self, spki_sha256: str) -> Person | None:
        """Whose credential has this thumbprint."""
        return next((p for p in self.people.values() if p.credential(spki_sha256)), None)

    def system_of(self, spki_sha256: str) -> System | None:
        """Whose certificate has this key, whether it still counts or not."""
        return next(
            (
                system
                for system in self.systems.values()
                if any(pin.spki_sha256 == spki_sha256 for pin in system.pins)
            ),
            None,
        )

    def knows(self, spki_sha256: str) -> bool:
        return bool(self.person_of(spki_sha256) or self.system_of(spki_sha256))
