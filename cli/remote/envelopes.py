"""Keys in envelopes: RSA-OAEP (SHA-256) of an AES key, then AES-KWP (CKM_RSA_AES_KEY_WRAP)."""

from pathlib import Path
from typing import Annotated

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from cli.command import command, group
from cli.desk.signing import CredentialFile, OnCard, ReaderName, given
from cli.output import answer, grouped, say
from cli.passphrases import PassphraseFd
from cli.remote.asking import ask
from cli.remote.components import HOUR, CheckValue, Minutes, RequestId, tell
from cli.remote.delivering import at_desk, hand_over
from cli.remote.given import Reason, bytes_of
from cli.remote.keys import YEAR, Class, Days, KeyId, Label, ProcessDays, ScopeText, Yes
from cli.state import SessionDir
from hsm.types import Algorithm, KeyUsage
from keyvault.domain.commands import ExportEnvelope, ImportEnvelope
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.pem import armour
from keyvault.domain.people import thumbprint
from keyvault.domain.scopes import Scope

app = group("Keys that people carry in and out.")
inner = group("Keys in envelopes of RSA and AES.")
app.add_typer(inner, name="envelopes")


def _spki(file: Path) -> bytes:
    try:
        key = load_pem_public_key(bytes_of(file))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInputError(f"{file} holds no public key in PEM") from error
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@command(
    inner,
    "import",
    "keyvault keys envelopes import --scope acme/SUPPLIER/00-01 --label 'from before'"
    " --algorithm AES-256 --usage encrypt --custodian erin --check-value cmac:1a2b3c",
)
def import_(
    scope: ScopeText,
    label: Label,
    algorithm: Annotated[Algorithm, typer.Option(help="Kind of key.")],
    usage: Annotated[KeyUsage, typer.Option(help="Its one purpose.")],
    custodian: Annotated[str, typer.Option(metavar="PERSON", help="Who brings the envelope.")],
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of a pair: its public half (PEM).")
    ] = None,
    check_value: CheckValue = None,
    minutes: Minutes = HOUR,
    key_class: Class = "standard",
    protect_days: Days = YEAR,
    process_days: ProcessDays = None,
    session: SessionDir = None,
) -> None:
    """Ask to take in a key that another party wraps for a key of ours, made for this alone."""
    days = (protect_days, process_days or protect_days)
    terms = (label, algorithm, usage, key_class, *days)
    public = None if public_key is None else _spki(public_key)
    wanted = ImportEnvelope(*terms, custodian, public, check_value, minutes)
    ask(session, wanted, Scope.parse(scope))


@command(inner, "wrapping-key", "keyvault keys envelopes wrapping-key REQUEST --out wrap.pem")
def wrapping_key(
    request: RequestId,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Public key for the sender (PEM).")],
    session: SessionDir = None,
) -> None:
    """Write the RSA key of this handover for the sender, once its statement is checked."""
    found = at_desk(session, request, None, None).found
    if not isinstance(found.request.command, ImportEnvelope):
        raise InvalidInputError("this handover takes no envelope")
    out.write_bytes(armour(found.public_key, "PUBLIC KEY"))
    shown = grouped(thumbprint(found.public_key))
    say(f"tell the sender the fingerprint by another way: {shown}")
    answer({"public_key": str(out), "until": found.until}, f"{out}, until {found.until}")


@command(
    inner, "deliver", "keyvault keys envelopes deliver REQUEST --file key.env --credential erin.key"
)
def deliver(
    request: RequestId,
    file: Annotated[Path, typer.Option(metavar="FILE", help="The envelope.")],
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    passphrase_fd: PassphraseFd = None,
    session: SessionDir = None,
) -> None:
    """Bring the envelope that the sender made; the key is in the HSM after that."""
    desk = at_desk(session, request, given(credential, card, reader), passphrase_fd)
    done = hand_over(desk, bytes_of(file))
    tell(done["handover"])


@command(
    inner,
    "export",
    "keyvault keys envelopes export KEY --recipient theirs.pem --reason 'hand-over'",
)
def export(
    key: KeyId,
    recipient: Annotated[Path, typer.Option(metavar="FILE", help="Their RSA key (PEM).")],
    reason: Reason,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask for a copy of a key whose class allows it, for their key; execute with --out."""
    ask(session, ExportEnvelope(key, _spki(recipient), reason), yes=yes)
