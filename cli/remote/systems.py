"""DCC systems: which certificates are enrolled, for what, and asking for changes."""

from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cli.command import command, group
from cli.output import answer, table
from cli.remote.asking import ask
from cli.remote.client import connect
from cli.state import SessionDir
from keyvault.domain.commands import EnrolSystem, RevokeSystem
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.scopes import Scope

app = group("See which systems are enrolled, and ask for changes.")

SystemId = Annotated[str, typer.Argument(metavar="SYSTEM", help="Id, such as dcc-1.")]


@command(app, "list", "keyvault systems list")
def list_(session: SessionDir = None) -> None:
    """List systems with their scope, actions and the fingerprint of their key."""
    page = connect(session).get("/v1/systems")
    rows = [
        (s["id"], s["name"], Scope(**s["scope"]), ", ".join(s["actions"]), s["credential"])
        for s in page["items"]
    ]
    answer(page, table(("system", "name", "scope", "may", "key"), rows))


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
    certificate: Annotated[Path, typer.Option(metavar="FILE", help="Its certificate (PEM).")],
    action: Annotated[list[str], typer.Option(help="Such as key:sign; repeat for more.")],
    key: Annotated[
        list[str] | None, typer.Option(help="Key it may use; repeat. Default: all of the scope.")
    ] = None,
    session: SessionDir = None,
) -> None:
    """Ask to pin a system's client certificate and to let it use keys of one scope."""
    parsed = _certificate(certificate)
    keys, named = tuple(key or ["*"]), Scope.parse(scope)
    pem = parsed.public_bytes(Encoding.PEM).decode()
    body = {
        "system": system,
        "full_name": name,
        "certificate": pem,
        "scope": named.document(),
        "actions": action,
        "keys": list(keys),
    }
    wanted = EnrolSystem(system, name, parsed.public_bytes(Encoding.DER), tuple(action), keys)
    ask(session, "/v1/systems", wanted, named, body=body)


@command(app, "revoke", "keyvault systems revoke dcc-1 --reason 'replaced by dcc-2'")
def revoke(
    system: SystemId,
    reason: Annotated[str, typer.Option(help="Why; it is signed and recorded.")],
    session: SessionDir = None,
) -> None:
    """Ask to refuse a system from now on."""
    path = f"/v1/systems/{system}/revocations"
    ask(session, path, RevokeSystem(system, reason), body={"reason": reason})


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise InvalidInputError(f"{path} holds no certificate in PEM") from error
