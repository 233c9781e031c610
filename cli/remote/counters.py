"""Originator counters: how far they are, taking some, leaving some out."""

from typing import Annotated

import typer

from cli.command import command, group
from cli.output import answer, say_more, table
from cli.remote.client import After, CaFile, Limit, Server, ServerUrl, connect
from cli.remote.uses import Certificate, PrivateKey
from cli.state import SessionDir
from keyvault.domain.canonical import Document
from keyvault.domain.gbcs import CellUsage, eui64
from keyvault.domain.scopes import Scope

app = group("See, take and leave out originator counters.")
_ACCESS = "--server https://localhost:8443 --ca server.pem --certificate me.pem --key me.key"

Usage = Annotated[CellUsage, typer.Option("--for", metavar="USAGE", help="Default: management.")]
Meter = Annotated[str | None, typer.Option(metavar="EUI64", help="For prePaymentTopUp: the meter.")]


@command(app, "list", "keyvault counters list")
def list_(limit: Limit = 50, after: After = None, session: SessionDir = None) -> None:
    """List every series: the highest counter given, and its floor."""
    page = connect(session).get("/v1/counters", limit=limit, after=after)
    rows = [(c["series"], c["issued"], c["floor"]) for c in page["items"]]
    answer(page, table(("series", "given", "floor"), rows))
    say_more(page)


@command(
    app,
    "reserve",
    f"keyvault counters reserve --count 10 {_ACCESS}",
    f"keyvault counters reserve --for prePaymentTopUp --meter 00DB1234567890A0 {_ACCESS}",
)
def reserve(
    server: ServerUrl,
    ca: CaFile,
    certificate: Certificate,
    private_key: PrivateKey,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 1,
    usage: Usage = CellUsage.MANAGEMENT,
    meter: Meter = None,
) -> None:
    """Take counters as an enrolled system; nobody else ever gets them."""
    door = Server(server, ca, (certificate, private_key))
    body = {"count": count, **_series(usage, meter)}
    taken = door.post("/v1/counters/reservations", body)
    answer(taken, f"{taken['first']} to {taken['last']}, step {taken['step']}")


@command(
    app,
    "raise",
    "keyvault counters raise 0000000000100000 --scope acme/SUPPLIER/90-B3-D5-1F-30-01-00-00"
    " --reason 'credentials were changed'",
)
def raise_(
    floor: Annotated[str, typer.Argument(metavar="HEX", help="16 hex digits.")],
    scope: Annotated[str, typer.Option(metavar="P/R/U", help="Party/user role/user id.")],
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    usage: Usage = CellUsage.MANAGEMENT,
    meter: Meter = None,
    session: SessionDir = None,
) -> None:
    """Leave out all counters up to a floor; those that were given and not used are void."""
    body: Document = {
        "scope": Scope.parse(scope).document(),
        "floor": floor.upper(),
        "reason": reason,
        **_series(usage, meter),
    }
    raised = connect(session).post("/v1/counters/floors", body)
    answer(raised, f"{raised['series']}: none up to {raised['floor']}")


def _series(usage: CellUsage, meter: str | None) -> Document:
    return {"cell_usage": str(usage), **({"recipient": eui64(meter)} if meter else {})}
