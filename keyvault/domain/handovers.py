"""Handovers: keys that people carry in or out, and what is signed on the way.

A gate opens one, with a statement that its evidence key signs. Each custodian answers with a
delivery of their own, signed with the credential that decides. At the end the gate signs a
transcript. No component is in any of them in clear.
"""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any
from uuid import UUID

from hsm.types import CheckValues
from keyvault.domain.canonical import Document, canonical, equal, parse
from keyvault.domain.commands import ExportComponents, ImportComponents, ImportEnvelope
from keyvault.domain.errors import CheckValueError, InvalidInputError
from keyvault.domain.people import check_id
from keyvault.domain.scopes import Scope
from keyvault.domain.times import time_of

STATEMENT_CONTEXT = b"keyvault-key-handover-v1\n"
TRANSCRIPT_CONTEXT = b"keyvault-key-handover-transcript-v1\n"
DELIVERY_CONTEXT = "keyvault-delivery-v1"
SEALING_CONTEXT = "keyvault-component-v1"
LIMIT = 65_536  # bytes of a statement or transcript
CONTENT_LIMIT = 16_384  # bytes of what a delivery brings
BAG_LIMIT = 64  # characters
HANDOVERS = (ImportComponents, ImportEnvelope, ExportComponents)


class HandoverState(StrEnum):
    OPEN = "open"
    DONE = "done"
    ABORTED = "aborted"
    EXPIRED = "expired"
    LOST = "lost"  # the gate started anew meanwhile, and what it held is gone


@dataclass(frozen=True, slots=True)
class Part:
    """What one custodian has handed over, or was handed: their component by its number.

    `session` is the thumbprint of the session it went through, `bag` the number of the
    tamper-evident bag that an exported component was put into.
    """

    number: int
    person: str
    session: str
    at: datetime
    check: CheckValues
    bag: str | None = None
    returned_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Handover:
    """A handover as the register knows it, under the id of its request."""

    id: UUID
    command: str
    scope: Scope
    state: HandoverState
    opened_at: datetime
    until: datetime
    statement: bytes
    signature: bytes
    parts: tuple[Part, ...] = ()
    transcript: bytes | None = None
    transcript_signature: bytes | None = None

    def part(self, number: int) -> Part | None:
        return next((part for part in self.parts if part.number == number), None)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a custodian signs when they hand something over, or ask for what is theirs.

    `content` is a sealed component, an envelope, or the public key (SPKI) that a component is to
    be sealed to. `check` are the values that they read off their component, empty for the rest.
    """

    origin: str
    request: UUID
    statement: str  # SHA-256 of the statement, in hex
    number: int
    person: str
    credential: str
    session: str
    content: bytes
    check: CheckValues
    at: str

    def document(self) -> Document:
        return {
            "origin": self.origin,
            "request": str(self.request),
            "statement": self.statement,
            "number": self.number,
            "person": self.person,
            "credential": self.credential,
            "session": self.session,
            "content": b64encode(self.content).decode(),
            "check_values": told(self.check),
            "at": self.at,
        }

    @property
    def message(self) -> bytes:
        """The bytes that the custodian signs."""
        return canonical({"ctx": DELIVERY_CONTEXT, **self.told()})

    def told(self) -> Document:
        """What is kept of it: all but the content, of which the SHA-256 is signed."""
        own = {name: value for name, value in self.document().items() if name != "content"}
        return {**own, "content_sha256": digest(self.content)}

    @classmethod
    def read(cls, document: Document) -> "Delivery":
        """Read what `document` wrote, strictly. Raises `InvalidInputError`."""
        try:
            delivery = cls._read(document)
            strict = equal(delivery.document(), document)
            time_of(delivery.at)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInputError("not a delivery") from error
        if not strict or len(delivery.content) > CONTENT_LIMIT:
            raise InvalidInputError("not a delivery of this version")
        return delivery

    @classmethod
    def _read(cls, document: Document) -> "Delivery":
        check: Any = document["check_values"]
        return cls(
            origin=str(document["origin"]),
            request=UUID(document["request"]),
            statement=str(document["statement"]),
            number=int(document["number"]),
            person=check_id(document["person"]),
            credential=str(document["credential"]),
            session=str(document["session"]),
            content=b64decode(document["content"], validate=True),
            check=CheckValues(str(check["cmac"]), str(check["ecb"])),
            at=str(document["at"]),
        )


def told(check: CheckValues) -> Document:
    """Check values by their styles."""
    return {"cmac": check.cmac, "ecb": check.ecb}


def digest(data: bytes) -> str:
    """The SHA-256 of a statement, transcript or content, in hex."""
    return sha256(data).hexdigest()


def sealing_context(request: UUID, statement: bytes, number: int, person: str) -> bytes:
    """What a component is sealed for: this handover, this number, this person, and no other."""
    return canonical(
        {
            "ctx": SEALING_CONTEXT,
            "request": str(request),
            "statement": digest(statement),
            "number": number,
            "person": person,
        }
    )


def statement_of(data: bytes) -> Document:
    """Read a statement or transcript. Raises `InvalidInputError`."""
    try:
        return parse(data, max_size=LIMIT)
    except ValueError as error:
        raise InvalidInputError("not a statement of a handover") from error


def hold_against(expected: str | None, check: CheckValues) -> None:
    """Raise `CheckValueError` unless the key is the one that people approved."""
    if expected is None:
        return
    style, _, value = expected.partition(":")
    found = {"cmac": check.cmac, "ecb": check.ecb}[style]
    if found != value:
        raise CheckValueError(
            f"the components make a key of check value {style}:{found}, and {expected} was"
            " approved",
            next_step="find out whose component is wrong, and ask for another handover",
        )


def check_bag(bag: str) -> str:
    """Return the number of a bag. Raises `InvalidInputError`."""
    if not 0 < len(bag) <= BAG_LIMIT or not bag.isprintable() or bag != bag.strip():
        raise InvalidInputError(f"a bag's number has 1 to {BAG_LIMIT} printable characters")
    return bag
