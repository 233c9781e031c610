"""A person's credential, in a file or on a card: the key that signs approvals and logins."""

from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from cli.command import command, group
from cli.desk.signing import OnCard, ReaderName, given, needed
from cli.output import answer, facts, grouped, say
from cli.passphrases import PassphraseFd, Secrets
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import thumbprint
from keyvault.signatures import Credential, SoftwareCredential

app = group("Make and show the key that signs for a person.")


@command(app, "create", "keyvault credential create --out alice.key")
def create(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the encrypted key goes.")],
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Make a P-256 key, encrypted under a passphrase that only you know, and its public half."""
    public = public_file(out)
    _must_be_new(public)
    passphrase = Secrets(passphrase_fd).chosen(f"new passphrase for {out}")
    credential = SoftwareCredential.create(out, passphrase)
    _write_public(public, credential)
    say(f"keep {out} and its passphrase to yourself, and give {public} to a registrar")
    _answer(str(out), public, credential)


@command(
    app,
    "show",
    "keyvault credential show alice.key",
    "keyvault credential show --card --out alice.pub.pem",
)
def show(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Encrypted key.")] = None,
    card: OnCard = False,
    reader: ReaderName = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write the public key (PEM).")
    ] = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Show a credential's fingerprint. A file is opened, which tests its passphrase too.

    A card is asked for no PIN. With --out its public key is written for a registrar.
    """
    place = needed(given(file, card, reader))
    public = out or (public_file(file) if file else None)
    credential = place.open(Secrets(passphrase_fd))
    if out is not None:
        _write_public(out, credential)
    _answer("card" if file is None else str(file), public, credential)


def public_file(credential: Path) -> Path:
    """Where the public half of a credential lies: alice.key has alice.pub.pem beside it."""
    return credential.with_suffix(".pub.pem")


def _must_be_new(path: Path) -> None:
    if path.exists():
        raise InvalidInputError(f"{path} exists already and is left alone")


def _write_public(path: Path, credential: Credential) -> None:
    _must_be_new(path)
    key = load_der_public_key(credential.spki)
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _answer(where: str, public: Path | None, credential: Credential) -> None:
    name = thumbprint(credential.spki)
    shown = "not written: add --out" if public is None else str(public)
    value = {"credential": where, "public_key": shown, "fingerprint": name}
    answer(value, facts({**value, "fingerprint": grouped(name)}.items()))
