"""Where a person's key lies, in an encrypted file or on a PIV card, and how it comes to sign."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli.desk.cards import card
from cli.errors import UsageError
from cli.passphrases import Secrets
from keyvault.domain.errors import InvalidInputError
from keyvault.signatures import Credential, SoftwareCredential

CARD = "card:"  # in front of a reader's name, where a session notes what its person signs with

CredentialFile = Annotated[
    Path | None, typer.Option("--credential", metavar="FILE", help="Your encrypted key.")
]
OnCard = Annotated[bool, typer.Option("--card", help="Sign with your PIV card (slot 9C).")]
ReaderName = Annotated[
    str | None,
    typer.Option("--reader", metavar="NAME", help="Which reader, if several hold a card."),
]


@dataclass(frozen=True, slots=True)
class KeyFile:
    path: Path

    def __str__(self) -> str:
        return str(self.path.resolve())

    def open(self, secrets: Secrets, spki: bytes | None = None) -> Credential:
        """Raises `InvalidInputError` if it does not open, or is another key than `spki`."""
        opened = SoftwareCredential.open(self.path, secrets.next(f"passphrase of {self.path}"))
        if spki not in (None, opened.spki):
            raise InvalidInputError(
                f"{self.path} holds another key than the enrolled one", next_step="use your own key"
            )
        return opened


@dataclass(frozen=True, slots=True)
class KeyCard:
    reader: str = ""  # empty for the only one that holds a card

    def __str__(self) -> str:
        return CARD + self.reader

    def open(self, secrets: Secrets, spki: bytes | None = None) -> Credential:
        """Raises `CardForeignError` if it is another card than that of `spki`, and `CardError`."""
        return card(self.reader, secrets, spki)


Place = KeyFile | KeyCard


def place_of(text: str) -> Place:
    """Read what `str` of a place wrote."""
    if text.startswith(CARD):
        return KeyCard(text.removeprefix(CARD))
    return KeyFile(Path(text))


def given(credential: Path | None, on_card: bool, reader: str | None) -> Place | None:
    """The place that the options name, None if they name none. Raises `UsageError` on two."""
    by_card = on_card or reader is not None
    if credential is not None and by_card:
        raise UsageError("give a credential's file or a card, not both")
    if by_card:
        return KeyCard(reader or "")
    return None if credential is None else KeyFile(credential)


def needed(place: Place | None) -> Place:
    if place is None:
        raise UsageError("say what signs for you", next_step="add --credential FILE, or --card")
    return place
