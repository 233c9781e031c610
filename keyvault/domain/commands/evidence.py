"""Acts on the log that need approvals."""

from dataclasses import dataclass

from keyvault.domain.commands.base import Command


@dataclass(frozen=True, slots=True)
class ErasePayload(Command):
    """Erase what some events say, as the law may ask. Their leaves, and every proof, stay.

    `ground` is the ground in law, such as "GDPR article 17", and is shown to every auditor.
    """

    name = "erase-payload"
    events: tuple[int, ...]
    ground: str
    reason: str
