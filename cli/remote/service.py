"""The service itself: random bytes, and whether it is alive and ready."""

from base64 import b64decode
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command, group
from cli.output import answer, answer_bytes, table
from cli.remote.client import CaFile, Server, ServerUrl, connect
from cli.state import SessionDir
from keyvault.domain.errors import NotReadyError

app = group("Ask the service itself.")


READY_PATH = "/v1/health/ready"


@command(
    app,
    "random",
    "keyvault random 32 --server https://localhost:8443 --ca server.pem"
    " --certificate me.pem --key me.key",
)
def random(
    size: Annotated[int, typer.Argument(metavar="BYTES", min=1, max=4096)],
    server: ServerUrl,
    ca: CaFile,
    certificate: Annotated[Path, typer.Option(metavar="FILE", help="Enrolled certificate (PEM).")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="Its private key (PEM).")],
    raw: Annotated[bool, typer.Option("--raw", help="The bytes themselves, on stdout.")] = False,
) -> None:
    """Draw bytes from the HSM's generator, as hex."""
    drawn = Server(server, ca, (certificate, key)).post("/v1/random", {"size": size})
    if raw:
        answer_bytes(b64decode(drawn["bytes"]))
    else:
        answer(drawn, b64decode(drawn["bytes"]).hex())


@command(app, "health", "keyvault health", "keyvault health --json")
def health(session: SessionDir = None) -> None:
    """Say whether the service can sign, and if not, why and what to do."""
    status, report = connect(session).probe(READY_PATH)
    columns = ("check", "ok", "reason", "next step")
    rows = [
        (c["name"], "yes" if c["ok"] else "NO", c.get("reason"), c.get("next_step"))
        for c in report.get("checks", [])
    ]
    answer(report, table(columns, rows))
    if status != HTTPStatus.OK:
        raise NotReadyError("the service is not ready", next_step="see the checks that say no")
