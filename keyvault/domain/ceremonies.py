"""Ceremonies: the scripts that people review beforehand, and the register of those held.

What a script may run is a closed list (`ACTS`). What people did by it is `journals`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from keyvault.domain.errors import CeremonyError

SCRIPT_LIMIT = 65_536  # bytes of YAML
VALUE_LIMIT = 200  # characters of a value that somebody reads or a command answers
_REFERENCE = re.compile(r"\{([a-z0-9-]+)(?:\.([a-z0-9_-]+))?\}")


class Kind(StrEnum):
    """What is done in a step."""

    SAY = "say"  # read aloud
    CHECK = "check"  # seen to be so
    RUN = "run"  # one of `ACTS`
    RECORD = "record"  # a value is asked for
    VERIFY = "verify"  # a value is compared with what it has to be
    PAUSE = "pause"  # people go away and come back


@dataclass(frozen=True, slots=True)
class Act:
    """A command that a script may run: its words, what it takes and what is kept of its answer.

    `keeps` names fields, and fields within fields; what is kept has the last part of the name.
    `secrets` counts what it asks for unseen: passphrases or PINs, and one of the `many` options
    stands in a script once, with its values between spaces.
    """

    places: tuple[str, ...] = ()  # arguments, in order
    options: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    many: tuple[str, ...] = ()
    secrets: int = 0
    signs: bool = False  # with the credential of whoever runs it
    asks: bool = False  # it shows a screen and wants a yes
    component: bool = False  # somebody types the component of a key, unseen
    words: bool = False  # what is typed unseen are the words of a share
    local: bool = False  # it needs no service

    @property
    def fields(self) -> tuple[str, ...]:
        """The names under which later steps find what was kept."""
        return tuple(name.rpartition(".")[2] for name in self.keeps)


_TERMS = ("scope", "label", "algorithm", "usage", "class", "protect-days", "process-days")
ACTS: dict[str, Act] = {
    "init": Act(
        options=(
            *("folder", "site", "origin", "host", "listen", "port", "database", "module"),
            *("keys-uri", "log-uri", "officers"),
        ),
        keeps=("config", "genesis", "origin", "server", "ca"),
        secrets=1,
        asks=True,
        local=True,
    ),
    "health": Act(keeps=("ready",)),
    "keys order": Act(options=_TERMS, keeps=("id", "check_words")),
    "keys components import": Act(
        options=(*_TERMS, "custodian", "check-value", "minutes"),
        keeps=("id", "check_words"),
        many=("custodian",),
    ),
    "keys components enter": Act(
        places=("request",),
        options=("check-value",),
        keeps=("state",),
        secrets=1,
        signs=True,
        asks=True,
        component=True,
    ),
    "keys components show": Act(places=("request",), keeps=("state",)),
    "approvals approve": Act(("request",), ("reason",), ("id", "state"), (), 1, True, True),
    "approvals execute": Act(
        places=("request",),
        keeps=("request.state", "outcome.backup_key", "outcome.restoration"),
        asks=True,
    ),
    "shares key": Act(options=("out",), keeps=("share_key", "statement"), secrets=2, signs=True),
    "shares open": Act(
        places=("key",),
        options=("share-key", "paper", "bag"),
        keeps=("number", "fingerprint"),
        secrets=1,
    ),
    "shares confirm": Act(places=("key",), options=("bag", "place"), keeps=("state",)),
    "shares enter": Act(
        places=("restoration",), keeps=("state",), secrets=1, asks=True, words=True
    ),
    "backups key": Act(
        options=("label", "threshold", "holder", "reason", "supersedes", "scope"),
        keeps=("id", "check_words"),
        many=("holder",),
    ),
    "backups make": Act(
        options=("backup-key", "out", "place", "owner", "scope"), keeps=("id", "sha256")
    ),
    "backups restore": Act(("backup",), ("reason",), ("id", "check_words")),
    "backups drill": Act(("backup",), ("reason",), ("id", "check_words")),
    "backups load": Act(("restoration",), ("file",), ("state",)),
}
"""What a script may run, by the words of the command."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a script; which of the later fields it has depends on its kind."""

    id: str
    kind: Kind
    text: str
    sign: tuple[str, ...]  # roles
    by: str = ""  # the role that runs a command
    command: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    pattern: str = ""
    example: str = ""
    rehearsed: str = ""  # what a rehearsal takes instead: a value of the script it held before
    value: str = ""
    expected: str = ""  # empty: somebody reads it from elsewhere and types it in


@dataclass(frozen=True, slots=True)
class Script:
    """What people review beforehand. `sha256` is that of the file, byte for byte."""

    name: str
    version: int
    title: str
    purpose: str
    roles: Mapping[str, str]  # and what each is there for
    bring: tuple[str, ...]
    steps: tuple[Step, ...]
    sha256: str
    after: str = ""  # the script beside it that a rehearsal holds before

    @property
    def needs_service(self) -> bool:
        return any(not ACTS[s.command].local for s in self.steps if s.kind is Kind.RUN)

    @property
    def founds(self) -> bool:
        return any(step.command == "init" for step in self.steps)


def references(text: str) -> list[tuple[str, str]]:
    """The steps whose values a text asks for, and of which field: `{step}`, `{step.field}`."""
    return [(found[1], found[2] or "value") for found in _REFERENCE.finditer(text)]


def filled(text: str, values: Mapping[str, Mapping[str, str]]) -> str:
    """Put the values of earlier steps into a text. Raises `CeremonyError` for one that is not."""

    def value(found: re.Match[str]) -> str:
        try:
            return values[found[1]][found[2] or "value"]
        except KeyError as error:
            raise CeremonyError(
                f"step {found[1]} left no {found[2] or 'value'}: it was not done as written",
                next_step="note a deviation for this step too, or abort the ceremony",
            ) from error

    return _REFERENCE.sub(value, text)


def same(one: str, other: str) -> bool:
    """Whether two values agree, however they are grouped; hexadecimal letters in either case."""
    first, second = (re.sub(r"[\s:.]", "", text) for text in (one, other))
    if re.fullmatch(r"[0-9A-Fa-f]+", first):
        first, second = first.lower(), second.lower()
    return bool(first) and first == second


def fits(pattern: str, value: str) -> bool:
    """Whether somebody may have read this value: printable, not too long, of the right form."""
    short = 0 < len(value) <= VALUE_LIMIT and value.isprintable()
    return short and bool(re.fullmatch(pattern or ".*", value))


@dataclass(frozen=True, slots=True)
class Ceremony:
    """A ceremony as the register has it; the later fields are empty until it has ended."""

    id: UUID
    title: str
    script_sha256: str
    started_at: datetime
    started_by: str
    outcome: str = "open"
    sha256: str = ""
    deviations: int = 0
    closed_at: datetime | None = None
    closed_by: str = ""
