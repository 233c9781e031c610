"""Papers about tokens: a label for its pack, and a receipt of what two people signed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.output import say
from cli.remote.client import Server, connect
from cli.remote.token_steps import StatementId
from cli.state import SessionDir
from keyvault.domain.canonical import Document
from keyvault.domain.times import time_of
from keyvault.paper import Paper

app = group("Papers about tokens.")

Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="PDF to write.")]
_ON_A_LABEL = ("serial", "model", "purpose", "holder", "place", "seal", "batch", "due_at")


@command(app, "label", "keyvault tokens label TOKEN --out label.pdf")
def label(
    tokens: Annotated[list[UUID], typer.Argument(metavar="TOKEN...", help="Ids of tokens.")],
    out: Out,
    session: SessionDir = None,
) -> None:
    """Write labels of tokens as PDF, a page each.

    What it is, for whom, its seal, and its id to be scanned.
    """
    server = connect(session)
    out.write_bytes(labelled(*(server.get(f"/v1/tokens/{each}") for each in tokens)).pdf())
    say(f"{'the label is' if len(tokens) == 1 else 'the labels are'} in {out}")


@command(app, "receipt", "keyvault tokens receipt STATEMENT --out receipt.pdf")
def receipt(statement: StatementId, out: Out, session: SessionDir = None) -> None:
    """Write the receipt of a signed step as PDF.

    The words, both signers, and a line to sign on.
    """
    server = connect(session)
    item = server.get(f"/v1/tokens/statements/{statement}")
    out.write_bytes(receipted(item, _token_of(server, item)).pdf())
    say(f"the receipt is in {out}")


def labelled(*tokens: Document) -> Paper:
    """The labels of tokens, as the service describes them, each on a page of its own."""
    paper = Paper("Labels of tokens" if len(tokens) > 1 else "Label of a token", datetime.now(UTC))
    for number, token in enumerate(tokens):
        if number:
            paper.page()
        pairs = [(name.replace("_", " "), token[name]) for name in _ON_A_LABEL if token[name]]
        paper.heading(f"Token {token['serial']}").facts([*pairs, ("id", token["id"])])
        paper.qr(token["id"], "the token's id").blank("taken by, and when")
    return paper


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
