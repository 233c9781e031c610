"""Acts on our own certification authorities that need approvals."""

from dataclasses import dataclass
from uuid import UUID

from keyvault.domain.commands.base import Command
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.token_profiles import CA_DAYS


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
