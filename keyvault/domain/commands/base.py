"""What every act that needs approvals has in common."""

from dataclasses import dataclass
from typing import ClassVar

from keyvault.domain.canonical import Document
from keyvault.domain.documents import document_of


@dataclass(frozen=True, slots=True)
class Command:
    """One act with its parameters: what its approvers sign, every one of them."""

    name: ClassVar[str]

    def parameters(self) -> Document:
        """The canonical form: bytes as base64, everything else as its text or number."""
        return document_of(self)
