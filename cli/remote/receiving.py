"""Custody of bundles outside of the service: who takes one signs for it, with a key of their own.

No server and no session are needed, since those who take evidence away have none.
"""

import hashlib
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command, group
from cli.confirm import confirm
from cli.output import answer, say
from cli.passphrases import PassphraseFd, Secrets
from cli.remote.given import Yes
from keyvault.domain.canonical import Document, canonical, parse
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.evidence import HANDOVER, RECEIPT
from keyvault.domain.people import thumbprint
from keyvault.domain.times import text_of

app = group("Sign for bundles with a key of your own.")
LINE_LIMIT = 65_536  # bytes

Bundle = Annotated[Path, typer.Argument(metavar="FILE", help="An evidence bundle.")]
KeyFile = Annotated[
    Path, typer.Option("--key", metavar="FILE", help="Your private key, P-256, as PEM.")
]
Who = Annotated[str, typer.Option("--by", metavar="TEXT", help="You, as the hand-over named you.")]
Place = Annotated[str, typer.Option(metavar="TEXT", help="Where, or on which way.")]


@command(
    app, "receive", "keyvault audit receive evidence.zip --by 'Ann Auditor' --key ann.pem --place X"
)
def receive(
    file: Bundle,
    by: Who,
    key: KeyFile,
    place: Place,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
) -> None:
    """Sign that you took a bundle. The line goes into FILE.custody; no server is asked."""
    own = _Key(key, passphrase_fd)
    signed = {"ctx": RECEIPT, "by": by, "key": b64encode(own.spki).decode()}
    _signed_line(file, own, {**signed, "place": place}, yes=yes)
    say(f"tell whoever gave it to you the fingerprint of your key: {thumbprint(own.spki)}")


@command(
    app,
    "pass-on",
    "keyvault audit pass-on evidence.zip --by 'Ann Auditor' --to 'Bo' --key ann.pem --place X",
)
def pass_on(
    file: Bundle,
    by: Who,
    to: Annotated[str, typer.Option(metavar="TEXT", help="Who takes it.")],
    key: KeyFile,
    place: Place,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
) -> None:
    """Sign that you gave a bundle on that you had signed for. No server is asked."""
    own = _Key(key, passphrase_fd)
    signed = {"ctx": HANDOVER, "from": by, "to": to, "credential": thumbprint(own.spki)}
    _signed_line(file, own, {**signed, "place": place}, yes=yes)


def chain_of(file: Path) -> tuple[Path, Document]:
    """Where the hand-overs of a bundle are, and how its next line begins."""
    chain = file.with_name(f"{file.name}.custody")
    lines = chain.read_bytes().splitlines() if chain.exists() else []
    before = hashlib.sha256(lines[-1]).hexdigest() if lines else "0" * 64
    with file.open("rb") as bundle:
        digest = hashlib.file_digest(bundle, "sha256").hexdigest()
    at = text_of(datetime.now(UTC))
    return chain, {"bundle": digest, "seq": len(lines), "prev": before, "at": at}


def _signed_line(file: Path, own: "_Key", said: Document, *, yes: bool) -> None:
    chain, begun = chain_of(file)
    entry = {**begun, **said}
    confirm("sign for a bundle", [(name, str(entry[name])) for name in entry], yes=yes)
    line = {**entry, "signature": b64encode(own.sign(canonical(entry))).decode()}
    parse(canonical(line), max_size=LINE_LIMIT)
    with chain.open("ab") as out:
        out.write(canonical(line) + b"\n")
    answer(line, str(chain))


class _Key:
    """Somebody's own private key, from a file."""

    def __init__(self, file: Path, passphrase_fd: int | None) -> None:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - for this alone
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - for this alone

        data, secret = file.read_bytes(), None
        if b"ENCRYPTED" in data:
            secret = Secrets(passphrase_fd).next(f"passphrase of {file}")
        try:
            found = serialization.load_pem_private_key(data, secret)
        except (ValueError, TypeError) as error:
            raise InvalidInputError(f"{file} holds no private key that opens") from error
        if not isinstance(found, ec.EllipticCurvePrivateKey) or found.curve.name != "secp256r1":
            raise InvalidInputError(
                f"{file} holds no P-256 key",
                next_step="openssl ecparam -name prime256v1 -genkey -noout -out own.pem",
            )
        self._key = found
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self.spki = found.public_key().public_bytes(serialization.Encoding.DER, form)

    def sign(self, message: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - for this alone
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - for this alone

        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))
