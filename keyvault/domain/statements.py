"""What people sign about tokens: one statement for each step, and a second signature on some.

A statement names the log as its signer saw it minutes ago, so it is fresh, and its own id, so it
counts once. The second signer signs all of the first's statement and signature.
"""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from keyvault.domain.access import Action
from keyvault.domain.canonical import Document, canonical
from keyvault.domain.documents import document_of, read
from keyvault.domain.errors import InvalidInputError, StatementInvalidError
from keyvault.domain.people import check_id
from keyvault.domain.times import day_of, time_of
from keyvault.domain.tokens import Step, TokenKind

CONTEXT = "keyvault-token-v1"
SECOND_CONTEXT = "keyvault-token-second-v1"
MAX_SERIALS = 500
SIGNATURE_LIMIT = 512  # bytes: of an RSA key of 4,096 bits


@dataclass(frozen=True, slots=True)
class Said:
    """What a statement says. `step` is the arrow that it takes, if it takes one."""

    name: ClassVar[str]
    action: ClassVar[Action]
    second: ClassVar[Action | None] = None
    step: ClassVar[Step | None] = None


@dataclass(frozen=True, slots=True)
class TakeIn(Said):
    """A delivery: two people counted it, looked at the seals and read the serials."""

    name = "take-in"
    action = Action.TOKEN_ISSUE
    second = Action.TOKEN_WITNESS
    kind: TokenKind
    model: str
    batch: str
    supplier: str
    seal: str
    place: str
    serials: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.serials) > MAX_SERIALS:
            raise InvalidInputError(f"take in up to {MAX_SERIALS} tokens at once")


@dataclass(frozen=True, slots=True)
class Nominate(Said):
    """A senior officer names who is to have a token, and what for."""

    name = "nominate"
    action = Action.TOKEN_NOMINATE
    holder: str
    purpose: str
    profile: str
    reason: str
    replaces: UUID | None = None

    def __post_init__(self) -> None:
        check_id(self.holder)


@dataclass(frozen=True, slots=True)
class Allocate(Said):
    """A registrar has seen who the nominated person is, and gives them this token.

    `identity` refers to the proof of person and organisation, which is kept elsewhere.
    """

    name = "allocate"
    action = Action.TOKEN_VET
    step = Step.ALLOCATE
    nomination: UUID
    identity: str


@dataclass(frozen=True, slots=True)
class HandOver(Said):
    """A token on the shelf changes hands, or place: who gives signs, then who takes."""

    name = "hand-over"
    action = Action.TOKEN_OWN
    second = Action.TOKEN_OWN
    to: str
    place: str
    seal: str


@dataclass(frozen=True, slots=True)
class Dispatch(Said):
    """Packed, sealed and sent. The PIN goes another way."""

    name = "dispatch"
    action = Action.TOKEN_ISSUE
    step = Step.DISPATCH
    seal: str
    carrier: str
    place: str
    due: str

    def __post_init__(self) -> None:
        day_of(self.due)


@dataclass(frozen=True, slots=True)
class Deliver(Said):
    """Face to face: the person is who they are, the seal whole. The holder signs the receipt."""

    name = "deliver"
    action = Action.TOKEN_VET
    second = Action.TOKEN_OWN
    step = Step.DELIVER
    identity: str
    seal: str
    place: str


@dataclass(frozen=True, slots=True)
class Activate(Said):
    """Signed with the token itself: it works, its holder has the PIN and accepts the duties."""

    name = "activate"
    action = Action.TOKEN_OWN
    second = Action.TOKEN_VET
    step = Step.ACTIVATE
    duties: str


@dataclass(frozen=True, slots=True)
class Release(Said):
    """Two people let a blocked token be unblocked, once, after its holder was identified anew."""

    name = "release"
    action = Action.TOKEN_VET
    second = Action.TOKEN_WITNESS
    identity: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resume(Said):
    """Found within time, and inspected."""

    name = "resume"
    action = Action.TOKEN_VET
    second = Action.TOKEN_WITNESS
    step = Step.RESUME
    inspection: str


@dataclass(frozen=True, slots=True)
class GiveBack(Said):
    """The librarian has it again; who gave it back signs, too."""

    name = "give-back"
    action = Action.TOKEN_ISSUE
    second = Action.TOKEN_OWN
    step = Step.GIVE_BACK
    place: str
    seal: str
    condition: str


@dataclass(frozen=True, slots=True)
class Destroy(Said):
    """Keys erased, then the token itself destroyed, before a witness. `photo` is a SHA-256."""

    name = "destroy"
    action = Action.TOKEN_ISSUE
    second = Action.TOKEN_WITNESS
    step = Step.DESTROY
    method: str
    place: str
    photo: str | None = None


@dataclass(frozen=True, slots=True)
class Count(Said):
    """All that was found in a place, by somebody who was not told what should be there."""

    name = "count"
    action = Action.TOKEN_WITNESS
    place: str
    found: tuple[str, ...] | None = None  # `model serial` each; None for nothing


@dataclass(frozen=True, slots=True)
class CertifyKey(Said):
    """A registrar has our own CA certify a key that is on no token: a client's or a server's."""

    name = "certify-key"
    action = Action.CERTIFICATE_ISSUE
    issuer: UUID
    profile: str
    subject: str
    request: str  # SHA-256 of the PKCS#10 request, hex
    names: tuple[str, ...] | None = None  # DNS names of a server


KINDS: dict[str, type[Said]] = {
    kind.name: kind
    for kind in (
        *(TakeIn, Nominate, Allocate, HandOver, Dispatch, Deliver, Activate, Release),
        *(Resume, GiveBack, Destroy, Count, CertifyKey),
    )
}
WITHOUT_TOKEN = (TakeIn, Nominate, Count, CertifyKey)


@dataclass(frozen=True, slots=True)
class Statement:
    """One person's words about a token. `challenge` is the log as they saw it: `size:root`.

    `version` is that of the token they looked at, 0 where it is about none.
    """

    id: UUID
    origin: str
    said: Said
    token: UUID | None
    version: int
    person: str
    credential: str  # thumbprint of the key that signed
    second: str  # who is to sign beside them; empty for nobody
    challenge: str
    at: str

    def __post_init__(self) -> None:
        check_id(self.person)
        time_of(self.at)
        if (self.token is None) is not isinstance(self.said, WITHOUT_TOKEN):
            raise InvalidInputError(f"{self.said.name} is about one token, or about none")
        if bool(self.second) is not (self.said.second is not None):
            raise InvalidInputError(f"{self.said.name}: name the second signer, if it takes one")
        if self.second == self.person:
            raise InvalidInputError("the second signer is somebody else")

    def document(self) -> Document:
        return {
            "ctx": CONTEXT,
            "id": str(self.id),
            "origin": self.origin,
            "step": self.said.name,
            "details": document_of(self.said),
            "token": str(self.token) if self.token else None,
            "version": self.version,
            "person": self.person,
            "credential": self.credential,
            "second": self.second or None,
            "challenge": self.challenge,
            "at": self.at,
        }

    def message(self) -> bytes:
        """The bytes that the first person signs."""
        return canonical(self.document())

    @classmethod
    def read(cls, document: object) -> "Statement":
        """Read what `document` wrote, strictly. Raises `StatementInvalidError`."""
        try:
            return cls._read(document)
        except (InvalidInputError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise StatementInvalidError(
                f"this is no statement about a token: {error}", next_step="see docs/formats.md"
            ) from error

    @classmethod
    def _read(cls, document: object) -> "Statement":
        if not isinstance(document, dict):
            raise InvalidInputError("an object was expected")
        kind = KINDS[str(document["step"])]
        token, second = document["token"], document["second"]
        made = cls(
            id=UUID(document["id"]),
            origin=str(document["origin"]),
            said=read(kind, document["details"], kind.name),
            token=UUID(token) if token is not None else None,
            version=int(document["version"]),
            person=str(document["person"]),
            credential=str(document["credential"]),
            second=str(second) if second is not None else "",
            challenge=str(document["challenge"]),
            at=str(document["at"]),
        )
        if made.document() != document:
            raise InvalidInputError("it is written in another way, or has other fields")
        return made


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement with its signature, in DER."""

    statement: Statement
    signature: bytes

    def document(self) -> Document:
        signature = b64encode(self.signature).decode()
        return {"statement": self.statement.document(), "signature": signature}

    @classmethod
    def read(cls, document: Document) -> "Signed":
        return cls(Statement.read(document["statement"]), b64decode(document["signature"]))


@dataclass(frozen=True, slots=True)
class Countersigned:
    """The second signature, over the first statement, its signature, and these fields."""

    person: str
    credential: str
    challenge: str
    at: str
    signature: bytes = b""

    def fields(self) -> Document:
        own = {"person": self.person, "credential": self.credential}
        return {**own, "challenge": self.challenge, "at": self.at}

    def document(self) -> Document:
        return {**self.fields(), "signature": b64encode(self.signature).decode()}

    def message(self, first: Signed) -> bytes:
        return canonical({"ctx": SECOND_CONTEXT, **first.document(), **self.fields()})

    @classmethod
    def read(cls, document: Document) -> "Countersigned":
        own = {k: str(document[k]) for k in ("person", "credential", "challenge", "at")}
        return cls(**own, signature=b64decode(document["signature"]))
