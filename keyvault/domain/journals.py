"""The journal of a ceremony, and the transcript that it becomes.

A journal is a chain: each entry holds the hash of the one before it, and whoever signs an entry
signs with it everything that went before.
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from keyvault.domain.approvals import Verify
from keyvault.domain.canonical import Document, canonical, equal, parse
from keyvault.domain.ceremonies import Script, Step
from keyvault.domain.errors import CeremonyError, VaultError
from keyvault.domain.people import thumbprint
from keyvault.domain.times import time_of

CONTEXT = "keyvault-ceremony-v1"
TRANSCRIPT_CONTEXT = "keyvault-ceremony-transcript-v1"
TRANSCRIPT_LIMIT = 200_000  # bytes: a transcript fits into the payload of its event
FIRST = "0" * 64  # what stands in the first entry in the place of a hash


class Mark(StrEnum):
    """What an entry of a journal says."""

    OPENED = "opened"  # everybody has approved the script
    BEGAN = "began"  # a command is about to run
    RAN = "ran"  # a command has ended well; nobody has signed for it yet
    DONE = "done"
    DEVIATED = "deviated"  # not done as it is written, and why
    FAILED = "failed"  # it can be tried again
    PAUSED = "paused"
    RESUMED = "resumed"
    CLOSED = "closed"
    ABORTED = "aborted"


class Mode(StrEnum):
    RUN = "run"
    REHEARSAL = "rehearsal"  # on throw-away tokens, by throw-away credentials


@dataclass(frozen=True, slots=True)
class Participant:
    """Who is there in a role. `spki` is the key they sign with; `name` is how they are called."""

    role: str
    person: str
    name: str
    spki: bytes

    def document(self) -> Document:
        spki = b64encode(self.spki).decode()
        return {"role": self.role, "person": self.person, "name": self.name, "spki": spki}


@dataclass(frozen=True, slots=True)
class Signature:
    role: str
    person: str
    credential: str  # thumbprint
    at: str
    signature: bytes = b""

    def document(self) -> Document:
        own = {"role": self.role, "person": self.person, "credential": self.credential}
        return {**own, "at": self.at, "signature": b64encode(self.signature).decode()}

    def message(self, entry: "Entry") -> bytes:
        """The bytes that the person signs: the entry, and through it all that went before."""
        own = {key: value for key, value in self.document().items() if key != "signature"}
        return canonical({"ctx": CONTEXT, "entry": entry.unsigned(), **own})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal."""

    number: int
    previous: str  # SHA-256 of the canonical entry before, in hexadecimal
    at: str
    mark: Mark
    step: str
    details: Document
    signatures: tuple[Signature, ...] = ()

    def unsigned(self) -> Document:
        return {
            "number": self.number,
            "previous": self.previous,
            "at": self.at,
            "mark": str(self.mark),
            "step": self.step,
            "details": self.details,
        }

    def document(self) -> Document:
        return {**self.unsigned(), "signatures": [one.document() for one in self.signatures]}

    @property
    def hash(self) -> str:
        return hashlib.sha256(canonical(self.document())).hexdigest()

    @classmethod
    def read(cls, document: Document) -> "Entry":
        """Read what `document` wrote, strictly. Raises `CeremonyError`."""
        try:
            entry = cls(
                document["number"],
                document["previous"],
                document["at"],
                Mark(document["mark"]),
                document["step"],
                dict(document["details"]),
                tuple(map(_signature, document["signatures"])),
            )
            time_of(entry.at)
            texts = all(isinstance(one, str) for one in (entry.previous, entry.step))
            strict = equal(entry.document(), document) and type(entry.number) is int and texts
        except (KeyError, TypeError, ValueError, AttributeError, VaultError) as error:
            raise CeremonyError("the journal holds a line that is no entry") from error
        if not strict:
            raise CeremonyError("the journal holds an entry with fields that nobody knows")
        return entry


def _signature(document: Any) -> Signature:
    signature = b64decode(document["signature"], validate=True)
    role, person, credential, at = (
        str(document[name]) for name in ("role", "person", "credential", "at")
    )
    return Signature(role, person, credential, at, signature)


@dataclass(frozen=True, slots=True)
class Journal:
    """What was done so far, in order. It only ever grows."""

    entries: tuple[Entry, ...] = ()

    def next(self, mark: Mark, step: str, details: Document, at: str) -> Entry:
        """Write the entry that would come now; nobody has signed it yet."""
        previous = self.entries[-1].hash if self.entries else FIRST
        return Entry(len(self.entries), previous, at, mark, step, details)

    def with_(self, entry: Entry) -> "Journal":
        return replace(self, entries=(*self.entries, entry))

    @property
    def opening(self) -> Document:
        if not self.entries or self.entries[0].mark is not Mark.OPENED:
            raise CeremonyError("the journal does not begin with the opening of a ceremony")
        return self.entries[0].details

    @property
    def ended(self) -> bool:
        return bool(self.entries) and self.entries[-1].mark in (Mark.CLOSED, Mark.ABORTED)

    def settled(self) -> list[str]:
        """The steps that are done, or that people deviated from, in the order they were taken."""
        return [e.step for e in self.entries if e.mark in (Mark.DONE, Mark.DEVIATED)]

    def deviations(self) -> int:
        return sum(entry.mark is Mark.DEVIATED for entry in self.entries)

    def ran(self, step: str) -> Document | None:
        """The answer of a step's command that has ended well, if nobody settled the step yet."""
        found = [e.details for e in self.entries if e.step == step and e.mark is Mark.RAN]
        return found[-1] if found else None

    def values(self) -> dict[str, dict[str, str]]:
        """What the steps that are done have left behind, by step and field."""
        return {e.step: dict(e.details) for e in self.entries if e.mark is Mark.DONE}


def participants(opening: Document) -> list[Participant]:
    """Read who took part. Raises `CeremonyError`."""
    try:
        people = [
            Participant(p["role"], p["person"], p["name"], b64decode(p["spki"], validate=True))
            for p in opening["people"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise CeremonyError("the journal does not say who took part") from error
    if len({one.person for one in people}) != len(people) or not people:
        raise CeremonyError("a ceremony has one person for each role, and nobody for two")
    return people


def check(journal: Journal, script: Script, verify: Verify) -> None:
    """Raise `CeremonyError` unless the journal keeps to the script and everybody signed for it.

    A ceremony that has not ended yet is checked as far as it goes.
    """
    opening = journal.opening
    if opening.get("script_sha256") != script.sha256:
        raise CeremonyError("the ceremony was held by another script than this")
    people = {one.role: one for one in participants(opening)}
    if set(people) != set(script.roles):
        raise CeremonyError("the roles of the ceremony are not those of its script")
    _check_chain(journal.entries)
    steps = iter(script.steps)
    step: Step | None = next(steps, None)
    for entry in journal.entries:
        _check_place(entry, step, journal)
        demanded = _signers(entry, step, script)
        _check_signatures(entry, demanded, people, verify)
        if entry.mark in (Mark.DONE, Mark.DEVIATED):
            step = next(steps, None)


def _check_chain(entries: Sequence[Entry]) -> None:
    previous = FIRST
    for number, entry in enumerate(entries):
        if entry.number != number or entry.previous != previous:
            raise CeremonyError(f"entry {number} of the journal does not follow the one before it")
        previous = entry.hash


def _check_place(entry: Entry, step: Step | None, journal: Journal) -> None:
    last = entry.number == len(journal.entries) - 1
    opens, ends = entry.mark is Mark.OPENED, entry.mark in (Mark.CLOSED, Mark.ABORTED)
    wrong = (
        opens != (entry.number == 0)
        or (ends and not last)
        or (entry.mark is Mark.CLOSED and step is not None)
        or (bool(entry.step) and (step is None or entry.step != step.id))
        or (entry.mark in (Mark.DONE, Mark.DEVIATED) and not entry.step)
    )
    if wrong:
        raise CeremonyError(f"entry {entry.number} of the journal stands where it cannot: a step")


def _signers(entry: Entry, step: Step | None, script: Script) -> Collection[str]:
    if entry.mark in (Mark.OPENED, Mark.CLOSED):
        return tuple(script.roles)
    if entry.mark is Mark.ABORTED:
        return tuple(script.roles)[:1]
    if step is not None and entry.mark is Mark.DEVIATED:
        return deviation_signers(step, script)
    return step.sign if step is not None and entry.mark is Mark.DONE else ()


def deviation_signers(step: Step, script: Script) -> tuple[str, ...]:
    """Who signs that a step was not done as it is written: never nobody."""
    return step.sign or tuple(script.roles)[:1]


def _check_signatures(
    entry: Entry, demanded: Collection[str], people: Mapping[str, Participant], verify: Verify
) -> None:
    if sorted(one.role for one in entry.signatures) != sorted(demanded):
        raise CeremonyError(f"entry {entry.number} is not signed by: {', '.join(demanded)}")
    for one in entry.signatures:
        who = people[one.role]
        known = one.person == who.person and one.credential == thumbprint(who.spki)
        if not known or not verify(who.spki, one.signature, one.message(entry)):
            raise CeremonyError(f"the signature of {one.person} on entry {entry.number} is wrong")


# The transcript -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transcript:
    """A ceremony that has ended: its script, word for word, and its journal."""

    script: str
    journal: Journal

    @property
    def ceremony(self) -> UUID:
        try:
            return UUID(str(self.journal.opening["ceremony"]))
        except (KeyError, ValueError) as error:
            raise CeremonyError("the journal does not say which ceremony it is") from error

    @property
    def mode(self) -> Mode:
        return Mode(str(self.journal.opening.get("mode")))

    def document(self) -> Document:
        entries = [entry.document() for entry in self.journal.entries]
        return {"ctx": TRANSCRIPT_CONTEXT, "script": self.script, "entries": entries}

    def encoded(self) -> bytes:
        """The one encoding, by whose hash the log knows it. Raises `CeremonyError` if too long."""
        data = canonical(self.document())
        if len(data) > TRANSCRIPT_LIMIT:
            raise CeremonyError(f"a transcript has at most {TRANSCRIPT_LIMIT} bytes")
        return data

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.encoded()).hexdigest()

    @classmethod
    def read(cls, data: bytes) -> "Transcript":
        """Read what `encoded` wrote, and nothing else. Raises `CeremonyError`."""
        try:
            document = parse(data, max_size=TRANSCRIPT_LIMIT)
            entries = tuple(map(Entry.read, document["entries"]))
            made = cls(str(document["script"]), Journal(entries))
            strict = equal(made.document(), document)
            Mode(str(made.journal.opening.get("mode")))
        except (KeyError, TypeError, ValueError) as error:
            raise CeremonyError("this is no transcript of a ceremony") from error
        if not strict:
            raise CeremonyError("a transcript with fields that nobody knows")
        return made


def outcome_of(journal: Journal) -> str:
    """completed, aborted, or open while it has not ended."""
    if not journal.ended:
        return "open"
    return "completed" if journal.entries[-1].mark is Mark.CLOSED else "aborted"


def told(entries: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
    """Each entry with what it says, in words for people."""
    words = {
        Mark.OPENED: "Everybody approved the script",
        Mark.BEGAN: "The command was begun",
        Mark.RAN: "The command ended well",
        Mark.DONE: "Done",
        Mark.DEVIATED: "DEVIATION",
        Mark.FAILED: "FAILED",
        Mark.PAUSED: "Paused",
        Mark.RESUMED: "Resumed",
        Mark.CLOSED: "The ceremony ended as planned",
        Mark.ABORTED: "ABORTED",
    }
    for entry in entries:
        silent = entry.mark in (Mark.OPENED, Mark.RAN)  # told elsewhere
        shown = {} if silent else entry.details
        said = "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in shown.items())
        yield entry, f"{words[entry.mark]}{f': {said}' if said else ''}"
