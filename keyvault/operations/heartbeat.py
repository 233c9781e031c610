"""A sign of life in the log, so that silence is seen by whoever reads it later."""

from datetime import timedelta
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from uuid import uuid4

import keyvault
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.operations.vault import Vault
from keyvault.operations.witnesses import levels

ACTOR = "service:clerk"


def beat(vault: Vault) -> int:
    """Write a heartbeat if the last one lies further back than the settings allow."""
    stream = f"heartbeat:{vault.settings.node}"
    with vault.database.reading() as work:
        newest = work.audit.newest_of(stream)
        size, covered = work.audit.head().size, levels(vault, work)
    wait = timedelta(seconds=vault.settings.audit.heartbeat)
    if newest is not None and vault.clock() - newest.time < wait:
        return 0
    payload: Document = {
        "version": keyvault.VERSION,
        "program_sha256": program_digest(),
        "migration": vault.database.version() or "",
        "unsealed": size - covered.sealed,
        "unwitnessed": size - covered.witnessed,
    }
    with vault.database.work() as work:
        event = AuditEvent(
            EventType.AUDIT_HEARTBEAT, Outcome.OK, uuid4(), stream, ACTOR, payload, ""
        )
        work.commit(event)
    return 1


@lru_cache(maxsize=1)
def program_digest() -> str:
    """Return the SHA-256 over names and contents of this package's own files, in hex."""
    digest = sha256()
    with resources.as_file(resources.files(keyvault)) as folder:
        for path in sorted(Path(folder).rglob("*.py")):
            content = sha256(path.read_bytes()).hexdigest()
            digest.update(f"{content} {path.relative_to(folder)}\n".encode())
    return digest.hexdigest()
