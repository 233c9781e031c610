"""For whom a record is kept: every duty of the Code applies separately to each User Role."""

import re
from dataclasses import dataclass

from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """Party, User Role and User ID. One User ID may serve several roles, so none is derived."""

    party: str
    user_role: str
    user_id: str

    def __post_init__(self) -> None:
        for name in ("party", "user_role", "user_id"):
            if not _PART.fullmatch(getattr(self, name)):
                raise InvalidInputError(
                    f"{name.replace('_', ' ')} of a scope is 1 to 64 letters, digits, . _ or -",
                    next_step="write a scope as party/user-role/user-id",
                )

    def __str__(self) -> str:
        return f"{self.party}/{self.user_role}/{self.user_id}"

    @classmethod
    def parse(cls, text: str) -> "Scope":
        """Read `party/user-role/user-id`. Raises `InvalidInputError`."""
        parts = text.split("/")
        if len(parts) != 3:  # noqa: PLR2004  (the three parts of a scope)
            raise InvalidInputError("a scope is written party/user-role/user-id")
        return cls(*parts)

    def document(self) -> Document:
        return {"party": self.party, "user_role": self.user_role, "user_id": self.user_id}
