"""DCC systems: which certificates are enrolled, for what, and asking for changes."""

from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cli.command import command, group
from cli.desk.signing import CredentialFile, OnCard, ReaderName, given
from cli.output import answer, table
from cli.passphrases import PassphraseFd
from cli.remote.asking import alone, ask
from cli.remote.client import connect
from cli.remote.deciding import Wish
from cli.state import SessionDir
from keyvault.domain.approvals import Decision
from keyvault.domain.commands import EnrolSystem, RevokeSystem, RotateSystem
from keyvault.domain.commands.systems import MAX_OVERLAP_HOURS
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.scopes import Scope
from keyvault.domain.times import day_of, text_of

app = group("See which systems are enrolled, and ask for changes.")

SystemId = Annotated[str, typer.Argument(metavar="SYSTEM", help="Id, such as dcc-1.")]
CertificateFile = Annotated[Path, typer.Option(metavar="FILE", help="Its certificate (PEM).")]
IssuerFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Who issued it (PEM). Default: it signed itself."),
]
Until = Annotated[
    str | None, typer.Option(metavar="DAY", help="It counts until then. Default: its own end.")
]


@command(app, "list", "keyvault systems list")
def list_(session: SessionDir = None) -> None:
    """List systems with their scope, actions, end, and the fingerprint of their newest key."""
    page = connect(session).get("/v1/systems")
    rows = [
        (
            s["id"],
            s["name"],
            Scope(**s["scope"]),
            ", ".join(s["actions"]),
            s["until"],
            s["pins"][-1]["credential"],
        )
        for s in page["items"]
    ]
    answer(page, table(("system", "name", "scope", "may", "until", "key"), rows))


@command(
    app,
    "enrol",
    "keyvault systems enrol dcc-1 --name 'Head end' --scope acme/SUPPLIER/00-01"
    " --certificate dcc-1.pem --action key:sign --action key:read --key KEY",
)
def enrol(
    system: SystemId,
    name: Annotated[str, typer.Option(help="Full name.")],
    scope: Annotated[str, typer.Option(metavar="P/R/U", help="Party/user role/user id.")],
    certificate: CertificateFile,
    action: Annotated[list[str], typer.Option(help="Such as key:sign; repeat for more.")],
    key: Annotated[
        list[str] | None, typer.Option(help="Key it may use; repeat. Default: all of the scope.")
    ] = None,
    issuer: IssuerFile = None,
    until: Until = None,
    session: SessionDir = None,
) -> None:
    """Ask to pin a system's client certificate and to let it use keys of one scope."""
    own, signed_by, end = _pinned(certificate, issuer, until)
    keys = tuple(key or ["*"])
    wanted = EnrolSystem(system, name, own, signed_by, tuple(action), keys, end)
    ask(session, wanted, Scope.parse(scope))


@command(app, "rotate", "keyvault systems rotate dcc-1 --certificate dcc-1-next.pem")
def rotate(
    system: SystemId,
    certificate: CertificateFile,
    issuer: IssuerFile = None,
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=MAX_OVERLAP_HOURS, help="How long both count.")
    ] = 24,
    until: Until = None,
    session: SessionDir = None,
) -> None:
    """Ask to give a system its next certificate; the one before counts for some hours more."""
    own, signed_by, end = _pinned(certificate, issuer, until)
    ask(session, RotateSystem(system, own, signed_by, overlap_hours, end))


@command(app, "revoke", "keyvault systems revoke dcc-1 --reason 'replaced by dcc-2'")
def revoke(
    system: SystemId,
    reason: Annotated[str, typer.Option(help="Why; it is signed and recorded.")],
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    passphrase_fd: PassphraseFd = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")] = False,
    session: SessionDir = None,
) -> None:
    """Refuse a system from now on. You alone decide this, and sign for it."""
    place = given(credential, card, reader)
    signing = Wish(Decision.APPROVE, reason, place, passphrase_fd, yes)
    alone(session, RevokeSystem(system, reason), signing)


def _pinned(certificate: Path, issuer: Path | None, until: str | None) -> tuple[bytes, bytes, str]:
    own = _certificate(certificate)
    signed_by = own if issuer is None else _certificate(issuer)
    end = day_of(until) if until else own.not_valid_after_utc
    der = Encoding.DER
    return own.public_bytes(der), signed_by.public_bytes(der), text_of(end)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise InvalidInputError(f"{path} holds no certificate in PEM") from error
