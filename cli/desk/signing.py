"""Where a person's key lies, in an encrypted file or on a PIV card, and how it comes to sign."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import UsageError
from cli.passphrases import Secrets
from keyvault.domain.errors import InvalidInputError, NotFoundError
from keyvault.signatures import Credential, SoftwareCredential

_OTHER_FILE = "name your encrypted key with --credential, or say --card"
CARD = "card:"  # in front of a reader's name, where a session notes what its person signs with


class LoginSlot(StrEnum):
    """What of a card can log in."""

    AUTHENTICATION = "9a"
    SIGNATURE = "9c"

    @property
    def reference(self) -> int:
        return int(self, 16)


CredentialFile = Annotated[
    Path | None, typer.Option("--credential", metavar="FILE", help="Your encrypted key.")
]
OnCard = Annotated[bool, typer.Option("--card", help="Sign with your PIV card (slot 9C).")]
LoginCard = Annotated[bool, typer.Option("--card", help="Log in with your PIV card (slot 9A).")]
Slot = Annotated[
    LoginSlot | None,
    typer.Option(help="Slot of the card. Default: 9a, or 9c where 9a has no key of P-256."),
]
ReaderName = Annotated[
    str | None,
    typer.Option(
        "--reader",
        metavar="NAME",
        help="Which reader, if several hold a card; a USB token: 'pkcs11:?module-path=FILE'.",
    ),
]


@dataclass(frozen=True, slots=True)
class KeyFile:
    path: Path

    def __str__(self) -> str:
        return str(self.path.resolve())

    def open(self, secrets: Secrets) -> Credential:
        """Raises `NotFoundError`, before anybody types in vain, or `InvalidInputError`."""
        if not self.path.is_file():
            raise NotFoundError(f"there is no file {self.path}", next_step=_OTHER_FILE)
        return SoftwareCredential.open(self.path, secrets.next(f"passphrase of {self.path}"))

    def to_decide(self, secrets: Secrets, keys: Collection[bytes]) -> Credential:
        """What signs decisions. Raises `InvalidInputError` if it is none of `keys` (SPKI)."""
        opened = self.open(secrets)
        if opened.spki not in keys:
            raise InvalidInputError(
                f"{self.path} holds another key than the enrolled one",
                next_step="use your own key, and not one that only logs in",
            )
        return opened

    def to_log_in(self, secrets: Secrets, slot: LoginSlot | None) -> Credential:
        """What signs a login. Raises `InvalidInputError` if it does not open, `UsageError`."""
        if slot is not None:
            raise UsageError("a file has no slots", next_step="leave out --slot, or give --card")
        return self.open(secrets)


@dataclass(frozen=True, slots=True)
class KeyCard:
    reader: str = ""  # empty for the only one that holds a card

    def __str__(self) -> str:
        return CARD + self.reader

    def to_decide(self, secrets: Secrets, keys: Collection[bytes]) -> Credential:
        """Slot 9C. Raises `CardForeignError` if it holds none of `keys`, and `CardError`."""
        from cli.desk import cards  # noqa: PLC0415  (readers cost a tenth of a second to load)

        return cards.to_decide(self.reader, secrets, keys)

    def to_log_in(self, secrets: Secrets, slot: LoginSlot | None) -> Credential:
        """Slot 9A, or 9C where 9A cannot be used; or this slot. Raises `CardError`."""
        from cli.desk import cards  # noqa: PLC0415  (as above)
        from hsm.pcsc.piv import PivSlot  # noqa: PLC0415  (and so does this)

        chosen = PivSlot(slot.reference) if slot else None
        return cards.to_log_in(self.reader, secrets, chosen)


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
