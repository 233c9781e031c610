"""A sign of life in the log, so that silence is seen by whoever reads it later."""

from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import keyvault
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.operations.vault import Vault
from keyvault.operations.witnesses import levels

ACTOR = "service:clerk"
PLACE = Path(keyvault.__file__).parents[1]  # what the packages lie in
PACKAGES = ("api", "cli", "hsm", "keyvault")


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


def program_digest(place: Path = PLACE) -> str:
    """Return the SHA-256 over the program as it lies on the disk now, in hex.

    Anybody works it out for a release or a host, in the folder that holds the packages:
    find api cli hsm keyvault -name '*.py' | LC_ALL=C sort | xargs sha256sum | sha256sum
    """
    found = [path for name in PACKAGES for path in (place / name).rglob("*.py")]
    names = sorted(str(path.relative_to(place)) for path in found)
    digest = sha256()
    for name in names:
        digest.update(f"{sha256((place / name).read_bytes()).hexdigest()}  {name}\n".encode())
    return digest.hexdigest()
