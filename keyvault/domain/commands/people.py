"""Changes of persons: joiner, mover, leaver, and what their rights rest on."""

from dataclasses import dataclass

from keyvault.domain.commands.base import Command
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import Credential, Grant, Screening, check_id


@dataclass(frozen=True, slots=True)
class RegisterPerson(Command):
    """A joiner, with what they may do, the key that signs for them, and their screening.

    `login` is a second key that opens sessions and does no more, as slot 9A of a card.
    """

    name = "register-person"
    person: str
    full_name: str
    organisation: str
    site: str
    manager: str | None
    credential: Credential
    grants: tuple[Grant, ...]
    screening: Screening
    login: Credential | None = None

    def __post_init__(self) -> None:
        _check_place(self.person, self.manager)
        if self.credential.login_only:
            raise InvalidInputError(
                "the key that signs for a joiner cannot be one that only logs in",
                next_step="give the key that decides, and the other one beside it as login",
            )
        if self.login and not self.login.login_only:
            raise InvalidInputError("the login key of a joiner has to be login_only")
        if self.login and self.login.spki == self.credential.spki:
            raise InvalidInputError("a key that decides logs in anyway: give another, or none")

    @property
    def credentials(self) -> tuple[Credential, ...]:
        return (self.credential, self.login) if self.login else (self.credential,)


@dataclass(frozen=True, slots=True)
class ChangePerson(Command):
    """A mover: where they work and all that they may do from now on."""

    name = "change-person"
    person: str
    organisation: str
    site: str
    manager: str | None
    grants: tuple[Grant, ...]
    reason: str

    def __post_init__(self) -> None:
        _check_place(self.person, self.manager)


@dataclass(frozen=True, slots=True)
class RemovePerson(Command):
    """A leaver: roles, credentials and sessions end at once. Their name stays in the record."""

    name = "remove-person"
    person: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReviewScreening(Command):
    """The yearly review of a person. Nothing else brings rights back that lapsed with it."""

    name = "review-screening"
    person: str
    screening: Screening


@dataclass(frozen=True, slots=True)
class AcknowledgeDuty(Command):
    """A person's own word that they know a duty. It needs their signature and no other."""

    name = "acknowledge-duty"
    person: str
    duty: str
    version: int
    sha256: str


@dataclass(frozen=True, slots=True)
class HoldPerson(Command):
    """Stop a person's rights at once, for at most 72 hours. One signature is enough."""

    name = "hold-person"
    person: str
    hours: int
    reason: str

    def __post_init__(self) -> None:
        if not 0 < self.hours <= MAX_HOLD_HOURS:
            raise InvalidInputError(
                f"one person alone can hold another for 1 to {MAX_HOLD_HOURS} hours",
                next_step="ask for a suspension where it must last: keyvault people suspend",
            )


MAX_HOLD_HOURS = 72


@dataclass(frozen=True, slots=True)
class SuspendPerson(Command):
    """Stop a person's rights until they are reinstated."""

    name = "suspend-person"
    person: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReinstatePerson(Command):
    name = "reinstate-person"
    person: str
    reason: str


@dataclass(frozen=True, slots=True)
class EnrolCredential(Command):
    """One more key of a person: a card beside a file, the next card, or one to log in only."""

    name = "enrol-credential"
    person: str
    credential: Credential

    @property
    def credentials(self) -> tuple[Credential, ...]:
        return (self.credential,)


@dataclass(frozen=True, slots=True)
class RevokeCredential(Command):
    """A lost card, or a key that may be known to others."""

    name = "revoke-credential"
    person: str
    thumbprint: str
    reason: str


def _check_place(person: str, manager: str | None) -> None:
    check_id(person)
    if manager is not None and check_id(manager) == person:
        raise InvalidInputError("nobody reports to themselves")
