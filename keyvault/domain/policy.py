"""Whom a checkpoint has to convince: log, witnesses and quorum, in c2sp.org/tlog-policy syntax.

A file of lines: `log <vkey> [<url>]`, `witness <name> <vkey> [<url>]`,
`group <name> all|any|<k> <member>...` and one `quorum <name>|none`. Names are opaque.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from keyvault.domain.errors import InvalidInputError
from keyvault.domain.notes import (
    Note,
    NoteError,
    SignatureType,
    VerifierKey,
    Verify,
    cosignature_parts,
)

MAX_POLICY_SIZE = 65_536  # bytes
MAX_LINES_OF_A_KIND = 32  # what the specification asks for, and enough
NONE = "none"
MEND = "mend the file that [witnesses] policy in the settings names; nothing was changed"
_FORBIDDEN = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_COUNT = re.compile(r"[1-9][0-9]{0,3}")


class PolicyError(InvalidInputError):
    """A line of a policy is not what the syntax allows. The message names the line."""

    code = "policy-invalid"

    def __init__(self, message: str, *, next_step: str = MEND) -> None:
        super().__init__(message, next_step=next_step)


@dataclass(frozen=True, slots=True)
class Party:
    """A log or a witness: its key, and where it is reached, or an empty text."""

    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """At least `threshold` of `members`, which are witnesses or groups."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. `quorum` is the name of a witness or group, or `none`."""

    logs: tuple[Party, ...]
    witnesses: Mapping[str, Party]
    groups: Mapping[str, Group]
    quorum: str
    text: bytes = field(repr=False, default=b"")

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a policy file, at most 64 KiB. Raises `PolicyError`."""
        reader = _Reader()
        for number, line in enumerate(_lines(data), 1):
            words = [word for word in re.split("[ \t]+", line) if word]
            if words and not words[0].startswith("#"):
                reader.take(words, f"line {number} of the policy")
        if reader.quorum is None:
            raise PolicyError("the policy has no quorum line", next_step="say: quorum none")
        return cls(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum, data)

    @property
    def asks(self) -> bool:
        """Whether any witness has to cosign at all."""
        return self.quorum != NONE

    def holds(self, cosigners: Collection[str]) -> bool:
        """Whether these witnesses, by their names in the policy, are the quorum or more."""
        return not self.asks or self._witnessed(self.quorum, cosigners)

    def _witnessed(self, name: str, cosigners: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in cosigners
        count = sum(self._witnessed(member, cosigners) for member in group.members)
        return count >= group.threshold

    @property
    def fewest(self) -> int:
        """Return how many witnesses it takes at least."""
        return self._fewest(self.quorum) if self.asks else 0

    def _fewest(self, name: str) -> int:
        group = self.groups.get(name)
        if group is None:
            return 1
        return sum(sorted(map(self._fewest, group.members))[: group.threshold])

    def cosigners(self, note: Note, verify: Verify) -> dict[str, int]:
        """Return which witnesses cosigned the note, and when, in POSIX seconds.

        Lines of unknown keys are passed over; a wrong one of a known key raises `NoteError`.
        """
        known = {(p.key.name, p.key.key_id): (n, p.key) for n, p in self.witnesses.items()}
        found: dict[str, int] = {}
        for line in note.signatures:
            name, key = known.get((line.name, line.key_id), ("", None))
            if key is None:
                continue
            if not verify(key, note.text.encode(), line.value):
                raise NoteError(f"the cosignature of witness {name} is wrong")
            found[name], _ = cosignature_parts(line.value)
        return found


class _Reader:
    """What the lines so far have defined."""

    def __init__(self) -> None:
        self.logs: list[Party] = []
        self.witnesses: dict[str, Party] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self._members: set[str] = set()
        self._publics: set[bytes] = set()

    def take(self, words: list[str], where: str) -> None:
        kinds: dict[str, Callable[[list[str], str], None]] = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._quorum,
        }
        kind = kinds.get(words[0])
        if kind is None:
            raise PolicyError(f"{where} is no log, witness, group or quorum line")
        kind(words[1:], where)
        if max(map(len, (self.logs, self.witnesses, self.groups))) > MAX_LINES_OF_A_KIND:
            raise PolicyError(f"{where}: over {MAX_LINES_OF_A_KIND} lines of a kind")

    def _log(self, words: list[str], where: str) -> None:
        kinds = (SignatureType.ED25519, SignatureType.ECDSA)
        self.logs.append(self._party(words, where, kinds))

    def _witness(self, words: list[str], where: str) -> None:
        name = self._new_name(words, where)
        self.witnesses[name] = self._party(words[1:], where, (SignatureType.COSIGNATURE,))

    def _party(self, words: list[str], where: str, kinds: tuple[SignatureType, ...]) -> Party:
        if len(words) not in (1, 2):
            raise PolicyError(f"{where} is not of the form: name, verifier key, perhaps a URL")
        try:
            key = VerifierKey.parse(words[0])
        except ValueError as error:
            raise PolicyError(f"{where} has no good verifier key: {error}") from error
        if key.type not in kinds:
            raise PolicyError(f"{where} has a key of type {key.type}, which does not belong there")
        if key.public in self._publics:
            raise PolicyError(f"{where} has a key that an earlier line has")
        self._publics.add(key.public)
        return Party(key, *words[1:])

    def _group(self, words: list[str], where: str) -> None:
        name = self._new_name(words, where)
        members, count = words[2:], words[1] if len(words) > 1 else ""
        for member in members:
            self._defined(member, where)
            if member in self._members:
                raise PolicyError(f"{where}: {member} is a member of a group already")
            self._members.add(member)
        counts = {"any": 1, "all": len(members)}
        threshold = int(count) if _COUNT.fullmatch(count) else counts.get(count, 0)
        if not 1 <= threshold <= len(members):
            raise PolicyError(f"{where} asks for {count or 'nothing'} of {len(members)} members")
        self.groups[name] = Group(threshold, tuple(members))

    def _quorum(self, words: list[str], where: str) -> None:
        if self.quorum is not None or len(words) != 1:
            raise PolicyError(f"{where}: there is one quorum line, with one name")
        if words[0] != NONE:
            self._defined(words[0], where)
        self.quorum = words[0]

    def _new_name(self, words: list[str], where: str) -> str:
        name = words[0] if words else ""
        if not name or name == NONE or name in self.witnesses or name in self.groups:
            raise PolicyError(f"{where} has no name of its own")
        return name

    def _defined(self, name: str, where: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise PolicyError(f"{where} names {name}, which no earlier line defines")


def shown(name: str) -> str:
    """Write a name of the policy in ASCII, for logs and events: it may be any bytes."""
    return name.encode("ascii", "backslashreplace").decode()


def stream_of(witness: str) -> str:
    """Name the stream of a witness's events, by its name in the policy."""
    return f"witness:{shown(witness)}"


def _lines(data: bytes) -> list[str]:
    if len(data) > MAX_POLICY_SIZE:
        raise PolicyError(f"a policy of {len(data)} bytes is over the limit")
    if _FORBIDDEN.search(data) or not data.endswith(b"\n"):
        raise PolicyError("a policy is lines that end in a newline, without control characters")
    # Whatever is no UTF-8 comes through unharmed: names are bytes that nobody interprets.
    return data.decode("utf-8", "surrogateescape")[:-1].split("\n")
