"""A person's credential, in a file or on a card: the key that signs approvals and logins."""

from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from cli.command import command, group
from cli.desk.cards import keys_on, login_key
from cli.desk.signing import KeyCard, KeyFile, OnCard, Place, ReaderName, given, needed
from cli.output import answer, facts, grouped, say
from cli.passphrases import PassphraseFd, Secrets
from hsm.pcsc.piv import PivSlot
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.people import thumbprint
from keyvault.signatures import SoftwareCredential

app = group("Make and show the key that signs for a person.")
PUBLIC = ".pub.pem"


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
    write_public(public, credential.spki)
    say(f"keep {out} and its passphrase to yourself, and give {public} to a registrar")
    _answer(_about(str(out), public, credential.spki))


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

    A card is asked for no PIN. With --out its public key (slot 9C) is written for a registrar, and
    beside it the one that only logs in (slot 9A): alice.pub.pem and alice.login.pub.pem.
    """
    place = needed(given(file, card, reader))
    if isinstance(place, KeyCard):
        _show_card(place, out)
        return
    spki = place.open(Secrets(passphrase_fd)).spki
    if out is not None:
        write_public(out, spki)
    _answer(_about(str(place.path), out or public_file(place.path), spki))


def _show_card(place: KeyCard, out: Path | None) -> None:
    keys = keys_on(place.reader)
    signs, logs_in = keys.key(PivSlot.SIGNATURE), login_key(keys)
    beside = login_file(out) if out and logs_in else None
    if out and beside:
        _must_be_new(beside)
    if out:
        write_public(out, signs)
    if beside and logs_in:
        write_public(beside, logs_in)
    shown = _about("card", out, signs)
    if logs_in:
        own = _about("card", beside, logs_in)
        shown |= {f"login_{name}": own[name] for name in ("public_key", "fingerprint")}
    _answer(shown)


def public_file(credential: Path) -> Path:
    """Where the public half of a credential lies: alice.key has alice.pub.pem beside it."""
    return credential.with_suffix(PUBLIC)


def login_file(public: Path) -> Path:
    """Where the key lies that only logs in: beside alice.pub.pem is alice.login.pub.pem."""
    stem = public.name.removesuffix(PUBLIC if public.name.endswith(PUBLIC) else public.suffix)
    return public.with_name(f"{stem}.login{public.name.removeprefix(stem)}")


def _must_be_new(path: Path) -> None:
    if path.exists():
        raise InvalidInputError(f"{path} exists already and is left alone")


def write_public(path: Path, spki: bytes) -> None:
    _must_be_new(path)
    key = load_der_public_key(spki)
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _about(where: str, public: Path | None, spki: bytes) -> Document:
    shown = "not written: add --out" if public is None else str(public)
    return {"credential": where, "public_key": shown, "fingerprint": thumbprint(spki)}


def _answer(value: Document) -> None:
    pairs = [
        (name.replace("_", " "), grouped(text) if name.endswith("fingerprint") else text)
        for name, text in value.items()
    ]
    answer(value, facts(pairs))


def enrolled(place: Place, public: str | None, login: str | None) -> tuple[bytes, bytes | None]:
    """Find the key that decides and one that only logs in. No PIN is asked for: nothing signs."""
    logs_in = _spki(Path(login)) if login else None
    if public is not None:
        return _spki(Path(public)), logs_in
    if isinstance(place, KeyFile):
        return _spki(public_file(place.path)), logs_in
    keys = keys_on(place.reader)
    return keys.key(PivSlot.SIGNATURE), logs_in or login_key(keys)


def _spki(path: Path) -> bytes:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"cannot read {path} as a public key in PEM",
            next_step="it is made by: keyvault credential create",
        ) from error
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
