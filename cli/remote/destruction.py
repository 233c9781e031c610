"""Certificates of destruction: fetched, checked against the genesis, and written down."""

from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command, group
from cli.errors import EvidenceError, ProblemError
from cli.output import answer, say
from cli.remote import log
from cli.remote.client import Server
from cli.remote.keys import KeyId
from cli.state import SessionDir, open_session
from keyvault import signatures
from keyvault.domain import pem
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
    spki = log.look(server, here).authority.services.evidence
    if not signatures.verify(spki, signature, statement):
        raise EvidenceError(
            "the certificate is not signed by the evidence key of the genesis",
            next_step="keep it, and call your officers",
        )
    files = {"": statement, ".sig": signature, ".pem": pem.armour(spki, "PUBLIC KEY")}
    for ending, data in files.items():
        out.with_name(out.name + ending).write_bytes(data)
    say(f"to check it: openssl dgst -sha256 -verify {out}.pem -signature {out}.sig {out}")
    answer({"file": str(out), "sha256": sha256(statement).hexdigest()}, str(out))


def _fetched(server: Server, path: str) -> Document:
    """What was made when the key was destroyed, or what is made up for now."""
    try:
        return server.get(path)
    except ProblemError as error:
        if error.code != "not-found":
            raise
    return server.post(path)
