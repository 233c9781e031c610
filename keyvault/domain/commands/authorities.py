"""Acts on our own certification authorities that need approvals."""

from dataclasses import dataclass
from uuid import UUID

from keyvault.domain.commands.base import Command
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.token_profiles import CA_DAYS, LEAVES, LeafProfile


@dataclass(frozen=True, slots=True)
class CertifyAuthority(Command):
    """Make a key that has signed nothing yet an authority: a root, or certified by `parent`.

    From here on it signs certificates, lists and answers about them, and nothing else.
    """

    name = "certify-authority"
    key: UUID
    parent: UUID | None
    title: str
    days: int
    reason: str

    def __post_init__(self) -> None:
        if not 0 < self.days <= CA_DAYS:
            raise InvalidInputError(f"an authority lasts 1 to {CA_DAYS} days")


@dataclass(frozen=True, slots=True)
class CertifySigner(Command):
    """Make a key that has signed nothing yet one that signs what cards say of themselves.

    From here on it signs identities and security objects of cards, and nothing else.
    """

    name = "certify-signer"
    key: UUID
    parent: UUID
    title: str
    days: int
    reason: str

    def __post_init__(self) -> None:
        most = LEAVES[LeafProfile.CONTENT_SIGNING].days
        if not 0 < self.days <= most:
            raise InvalidInputError(f"a signer of cards lasts 1 to {most} days")
