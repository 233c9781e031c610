"""Certificates of destruction: fetched, checked against the genesis, and written down."""

from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command, group
from cli.errors import ProblemError
from cli.output import answer
from cli.remote.client import Server
from cli.remote.keys import KeyId
from cli.remote.papers import write_signed
from cli.state import SessionDir, open_session
from keyvault.domain.canonical import Document

app = group("The end of keys.")


@command(app, "destruction-certificate", "keyvault keys destruction-certificate KEY --out gone.txt")
def destruction_certificate(
    key: KeyId,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Write it here.")],
    session: SessionDir = None,
) -> None:
    """Write the signed certificate that a key is destroyed, its signature and the key for it."""
    here = open_session(session)
    server = Server.of(here)
    found = _fetched(server, f"/v1/keys/{key}/destruction-certificate")
    statement, signature = (b64decode(found[name]) for name in ("statement", "signature"))
    write_signed(here, server, out, statement, signature)
    answer({"file": str(out), "sha256": sha256(statement).hexdigest()}, str(out))


def _fetched(server: Server, path: str) -> Document:
    """What was made when the key was destroyed, or what is made up for now."""
    try:
        return server.get(path)
    except ProblemError as error:
        if error.code != "not-found":
            raise
    return server.post(path)
