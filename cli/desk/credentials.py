"""A person's credential: an encrypted key that signs approvals and logins."""

from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from cli.command import command, group
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
    if public.exists():
        raise InvalidInputError(f"{public} exists already and is left alone")
    passphrase = Secrets(passphrase_fd).chosen(f"new passphrase for {out}")
    credential = SoftwareCredential.create(out, passphrase)
    public.write_bytes(_pem(credential.spki))
    say(f"keep {out} and its passphrase to yourself, and give {public} to a registrar")
    _answer(out, credential)


@command(app, "show", "keyvault credential show alice.key")
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The encrypted key.")],
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Show a credential's fingerprint; this opens it, so it also tests the passphrase."""
    passphrase = Secrets(passphrase_fd).next(f"passphrase of {file}")
    _answer(file, SoftwareCredential.open(file, passphrase))


def public_file(credential: Path) -> Path:
    """Where the public half of a credential lies: alice.key has alice.pub.pem beside it."""
    return credential.with_suffix(".pub.pem")


def _pem(spki: bytes) -> bytes:
    key = load_der_public_key(spki)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _answer(file: Path, credential: Credential) -> None:
    name = thumbprint(credential.spki)
    value = {"credential": str(file), "public_key": str(public_file(file)), "fingerprint": name}
    answer(value, facts({**value, "fingerprint": grouped(name)}.items()))
