"""Papers about tokens: a label for its pack, and a receipt of what two people signed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command, group
from cli.output import say
from cli.remote.client import Server, connect
from cli.remote.token_steps import StatementId
from cli.remote.tokens import TokenId
from cli.state import SessionDir
from keyvault.domain.canonical import Document
from keyvault.domain.times import time_of
from keyvault.paper import Paper

app = group("Papers about tokens.")

Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="PDF to write.")]
_ON_A_LABEL = ("serial", "model", "purpose", "holder", "place", "seal", "batch", "due_at")


@command(app, "label", "keyvault tokens label TOKEN --out label.pdf")
def label(token: TokenId, out: Out, session: SessionDir = None) -> None:
    """Write a token's label: what it is, for whom, its seal, and its id to be scanned."""
    there = connect(session).get(f"/v1/tokens/{token}")
    out.write_bytes(labelled(there).pdf())
    say(f"the label is in {out}")


@command(app, "receipt", "keyvault tokens receipt STATEMENT --out receipt.pdf")
def receipt(statement: StatementId, out: Out, session: SessionDir = None) -> None:
    """Write what was signed about a token as a receipt: words, both signers, a line to sign on."""
    server = connect(session)
    item = server.get(f"/v1/tokens/statements/{statement}")
    out.write_bytes(receipted(item, _token_of(server, item)).pdf())
    say(f"the receipt is in {out}")


def labelled(token: Document) -> Paper:
    """The label of a token, as the service describes it."""
    paper = Paper(f"Token {token['serial']}", datetime.now(UTC), reference=token["id"])
    pairs = [(name.replace("_", " "), token[name]) for name in _ON_A_LABEL if token[name]]
    return paper.facts(pairs).qr(token["id"], "the token's id").blank("taken by, and when")


def receipted(item: Document, token: Document | None) -> Paper:
    """The receipt of a statement with its signatures."""
    said = item["statement"]
    paper = Paper(f"Receipt: {said['step']}", time_of(said["at"]), reference=said["id"])
    if token is not None:
        names = ("serial", "model", "holder", "custodian")
        paper.facts([("token", token["id"]), *((name, token[name]) for name in names)])
    paper.heading("What was signed", 2)
    paper.facts([(k.replace("_", " "), v) for k, v in said["details"].items() if v is not None])
    paper.heading("By whom", 2)
    paper.facts([("first", said["person"]), ("at", said["at"]), ("key", said["credential"])])
    second = item["second"]
    if second is not None:
        paper.facts([("second", second["person"]), ("at", second["at"])])
    else:
        paper.text("The second signature is not there yet.")
    return paper.blank("signed on paper").qr(said["id"], "the statement's id")


def _token_of(server: Server, item: Document) -> Document | None:
    token = item["statement"]["token"]
    return server.get(f"/v1/tokens/{token}") if token else None
