"""A key that is compromised, or suspected to be: its case, what it reaches, whom to tell.

The drafts say what is on record and leave the judging to people. They quote no clause of any
code: which form a notice takes, and by when it is due, say the bodies it goes to.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from html import escape
from uuid import UUID

from keyvault.domain.certificates import Certificate
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.keys import Key, KeyState
from keyvault.domain.times import text_of


class Body(StrEnum):
    """Who is told of a compromise."""

    DCC = "dcc"
    PMA = "pma"
    SSC = "ssc"


NAMES = {
    Body.DCC: "Data Communications Company (DCC)",
    Body.PMA: "SMKI Policy Management Authority (SMKI PMA)",
    Body.SSC: "Security Sub-Committee (SSC)",
}


@dataclass(frozen=True, slots=True)
class Case:
    """What was declared of a key. `known_at` is when anybody first had reason to suspect it."""

    key: UUID
    known_at: datetime
    declared_at: datetime
    declared_by: str
    reason: str

    def __post_init__(self) -> None:
        if self.known_at > self.declared_at:
            raise InvalidInputError("nobody knows of a compromise before it is known: see known_at")


@dataclass(frozen=True, slots=True)
class NoticeSent:
    """A body was told. `reference` is under which number, there or here."""

    key: UUID
    body: Body
    sent_at: datetime
    reference: str
    actor: str


@dataclass(frozen=True, slots=True)
class Uses:
    """How often a key was used since its compromise was known of, as events count them."""

    events: int
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class Impact:
    """What a compromised key reaches.

    `tokens` are the first of those that have a certificate by it, where it is an authority of ours.
    """

    certificates: tuple[Certificate, ...]
    tokens: tuple[UUID, ...]
    token_count: int
    wrapped: tuple[UUID, ...]
    wrapped_count: int
    systems: tuple[str, ...]
    uses: Uses
    successor: UUID | None
    successor_state: KeyState | None


@dataclass(frozen=True, slots=True)
class File:
    """Everything of one case: the key, what was declared, what it reaches, who was told."""

    key: Key
    case: Case
    impact: Impact
    sent: tuple[NoticeSent, ...]

    @property
    def owed(self) -> list[Body]:
        """Those whom nobody has told yet."""
        told = {one.body for one in self.sent}
        return [body for body in Body if body not in told]

    @property
    def replaced(self) -> bool:
        return self.impact.successor_state is KeyState.ACTIVE


Section = tuple[str, list[str]]


def draft(file: File, to: Body, now: datetime) -> list[Section]:
    """Write the draft of a notice: headings, each with its lines."""
    return [
        (
            "Draft notice of a compromised key",
            [
                f"To: {NAMES[to]}",
                f"From: {file.key.scope}",
                f"Drafted at: {text_of(now)}",
            ],
        ),
        ("What happened", _happened(file.case)),
        ("Which key", _which(file.key)),
        ("What it reaches", _reached(file.impact)),
        ("What was done", _done(file)),
        (
            "Before this is sent",
            [
                "Check every line against what is known, and add what this record cannot know.",
                "Copy it into the form that the recipient asks for.",
                "Afterwards record when it was sent, and the recipient's reference.",
            ],
        ),
    ]


def _happened(case: Case) -> list[str]:
    return [
        f"Compromise declared, actual or suspected: {case.reason}",
        f"First known at: {text_of(case.known_at)}",
        f"Declared at: {text_of(case.declared_at)}, by {case.declared_by}",
    ]


def _which(key: Key) -> list[str]:
    of = f"SHA-256 {sha256(key.public_key).hexdigest()}" if key.public_key else key.check_value
    return [
        f"Key: {key.id}",
        f"Label: {key.label}",
        f"Kind: {key.algorithm}, to {key.usage}, class {key.key_class}",
        f"Fingerprint: {of}",
        f"In use from: {text_of(key.active_from) if key.active_from else 'never activated'}",
    ]


def _reached(impact: Impact) -> list[str]:
    lines = [
        f"Certificate: {one.subject}, serial {one.serial or 'none yet'}, {one.state}, "
        f"issued by {one.issuer or 'nobody yet'}"
        for one in impact.certificates
    ] or ["Certificates: none on record"]
    lines.append(f"Systems that could use it: {', '.join(impact.systems) or 'none'}")
    lines.append(f"Keys that rest wrapped under it: {impact.wrapped_count}")
    lines.append(f"Tokens with a certificate by it: {impact.token_count}")
    uses = impact.uses
    span = ""
    if uses.first and uses.last:
        span = f", from {text_of(uses.first)} to {text_of(uses.last)}"
    return [*lines, f"Recorded uses since it was known: {uses.events}{span}"]


def _done(file: File) -> list[str]:
    successor = file.impact.successor
    follows = f"{successor} ({file.impact.successor_state})" if successor else "not ordered yet"
    told = [
        f"Told: {NAMES[one.body]} at {text_of(one.sent_at)}, reference {one.reference}"
        for one in file.sent
    ]
    return [
        f"The key protects and processes nothing since {text_of(file.case.declared_at)}.",
        f"Replacement: {follows}",
        *(told or ["Told so far: nobody"]),
    ]


def as_text(sections: Iterable[Section]) -> str:
    """Write a draft as plain text."""
    parts = ["\n".join([heading.upper(), *lines]) for heading, lines in sections]
    return "\n\n".join(parts) + "\n"


def as_html(sections: Iterable[Section]) -> str:
    """Write a draft as one HTML document that loads nothing."""
    parts = [
        f"<h2>{escape(heading)}</h2>\n<ul>\n"
        + "".join(f"<li>{escape(line)}</li>\n" for line in lines)
        + "</ul>\n"
        for heading, lines in sections
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        "<title>Draft notice of a compromised key</title></head>\n<body>\n"
        + "".join(parts)
        + "</body>\n</html>\n"
    )
