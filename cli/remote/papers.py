"""What the service's evidence key has signed, written so that openssl alone can check it."""

from pathlib import Path

from cli.errors import EvidenceError
from cli.output import say
from cli.remote import log
from cli.remote.client import Server
from cli.state import Session
from keyvault import signatures
from keyvault.domain import pem


def write_signed(
    here: Session, server: Server, out: Path, statement: bytes, signature: bytes
) -> None:
    """Write FILE, FILE.sig and FILE.pem, the key that checks it. Raises `EvidenceError`."""
    spki = log.look(server, here).authority.services.evidence
    if not signatures.verify(spki, signature, statement):
        raise EvidenceError(
            "this is not signed by the evidence key of the genesis",
            next_step="keep it, and call your officers",
        )
    files = {"": statement, ".sig": signature, ".pem": pem.armour(spki, "PUBLIC KEY")}
    for ending, data in files.items():
        out.with_name(out.name + ending).write_bytes(data)
    say(f"to check it: openssl dgst -sha256 -verify {out}.pem -signature {out}.sig {out}")
