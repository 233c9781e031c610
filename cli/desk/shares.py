"""A holder's own side of a share: the key it is sealed to, its words, and the page for its bag."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cli.desk.cards import to_open
from cli.passphrases import Secrets
from keyvault import sealed, splitting
from keyvault.domain.backups import SHARE_CONTEXT
from keyvault.domain.canonical import parse
from keyvault.domain.commands import Holder
from keyvault.domain.documents import document_of, read
from keyvault.domain.errors import InvalidInputError, ShareInvalidError
from keyvault.domain.people import thumbprint
from keyvault.domain.shareholding import statement
from keyvault.paper import Paper
from keyvault.signatures import Credential, SoftwareCredential

IN_A_ROW = 4  # words, as they are read to somebody
LIMIT = 16_384  # bytes of a statement


@dataclass(frozen=True, slots=True)
class Opened:
    """A share whose envelope was opened; `words` go onto a screen or a page, nowhere else."""

    backup_key: UUID
    holder: str
    part: splitting.Part
    words: str

    def __repr__(self) -> str:
        return f"Opened(number={self.number})"

    @property
    def number(self) -> int:
        return self.part.number

    @property
    def fingerprint(self) -> str:
        return splitting.fingerprint(self.words)

    def lines(self) -> Iterator[tuple[str, str]]:
        """The words in rows, each with the number of its first."""
        words = self.words.split()
        for at in range(0, len(words), IN_A_ROW):
            yield f"{at + 1}", "  ".join(words[at : at + IN_A_ROW])


@dataclass(frozen=True, slots=True)
class ShareFile:
    """A share key in an encrypted file."""

    path: Path

    def spki(self, secrets: Secrets) -> bytes:
        """Make the file, and return its public half."""
        return SoftwareCredential.create(
            self.path, secrets.chosen(f"new passphrase for {self.path}")
        ).spki

    def opened(self, box: bytes, context: bytes, secrets: Secrets) -> bytes:
        """Raises `InvalidInputError`."""
        try:
            passphrase = secrets.next(f"passphrase of {self.path}")
            key = load_pem_private_key(self.path.read_bytes(), passphrase)
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInputError(f"{self.path} does not open with this passphrase") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InvalidInputError(f"{self.path} is no share key")
        return sealed.opened(key, box, context)


@dataclass(frozen=True, slots=True)
class ShareCard:
    """The key in slot 9D of a holder's card, which never leaves it."""

    reader: str = ""  # empty for the only one that holds a card

    def spki(self, secrets: Secrets) -> bytes:
        """The public half, as the card's certificate has it; no PIN is asked for."""
        return to_open(self.reader, secrets).spki

    def opened(self, box: bytes, context: bytes, secrets: Secrets) -> bytes:
        """Raises `InvalidInputError`, `CardError`."""
        card = to_open(self.reader, secrets)
        return sealed.opened_by(card.agree, card.spki, box, context)


ShareKey = ShareFile | ShareCard


def state(out: Path, spki: bytes, signer: Credential, person: str, origin: str) -> Path:
    """Write a holder's signed statement that a share key is theirs beside `out`, FILE.json."""
    unsigned = Holder(person, spki, thumbprint(signer.spki), b"-")
    signed = replace(unsigned, signature=signer.sign(statement(origin, unsigned)))
    path = out.with_name(out.name + ".json")
    path.write_text(json.dumps(document_of(signed), indent=1) + "\n")
    return path


def read_holder(path: Path) -> Holder:
    """Read what `state` wrote. Raises `InvalidInputError`."""
    try:
        with path.open("rb") as file:
            return read(Holder, json.loads(file.read(LIMIT)), str(path))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} is no statement about a share key") from error


def open_envelope(
    backup_key: UUID, envelope: bytes, key: ShareKey, secrets: Secrets, person: str
) -> Opened:
    """Open one's own envelope. Raises `InvalidInputError`, `ShareInvalidError`, `CardError`."""
    opened = key.opened(envelope, SHARE_CONTEXT + backup_key.bytes, secrets)
    told = parse(opened, max_size=LIMIT)
    words = str(told["words"])
    part = splitting.part_of(words)
    if told["holder"] != person or told["backup_key"] != str(backup_key):
        raise ShareInvalidError("this envelope holds somebody else's share")
    return Opened(backup_key, person, part, words)


def paper_of(opened: Opened, bag: str) -> bytes:
    """A page for the tamper bag: the words, and what they belong to. No code of them is on it."""
    paper = Paper(f"Share {opened.number} of a backup key", datetime.now(UTC))
    paper.facts(
        [
            ("backup key", str(opened.backup_key)),
            ("holder", opened.holder),
            ("set", str(opened.part.share_set)),
            ("needed", f"any {opened.part.threshold} shares of this set"),
            ("fingerprint", opened.fingerprint),
            ("bag", bag or "................"),
        ]
    )
    paper.heading("Words")
    paper.table(["from", "words"], [list(row) for row in opened.lines()])
    paper.blank("put into the bag on")
    paper.blank("by")
    return paper.pdf()
