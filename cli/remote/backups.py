"""Backups: the key behind them, the files, and their register."""

from hashlib import sha256
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.desk.backups import verified
from cli.desk.shares import read_holder
from cli.errors import EvidenceError
from cli.output import answer, facts, say, table
from cli.remote import log
from cli.remote.asking import ask
from cli.remote.client import After, Limit, Server, connect
from cli.state import SessionDir, open_session
from keyvault.domain.commands import DestroyBackupKey, MakeBackupKey
from keyvault.domain.scopes import Scope

app = group("Backups, and the keys that wrap them.")
COLUMNS = ("id", "taken_at", "state", "keys", "left_out", "size", "place", "owner")
KEY_COLUMNS = ("id", "label", "state", "threshold", "share_set", "check_value", "made_at")

BackupId = Annotated[UUID, typer.Argument(metavar="BACKUP", help="Id of the backup.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why: it stays on record.")]
ScopeText = Annotated[
    str | None, typer.Option("--scope", metavar="P/R/U", help="Of this scope alone.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@command(
    app,
    "key",
    "keyvault backups key --label 2026 --threshold 2 --holder bob.share.key.json"
    " --holder carol.share.key.json --holder dave.share.key.json --reason 'the first'",
)
def key(
    label: Annotated[str, typer.Option(metavar="TEXT", help="What it is called.")],
    threshold: Annotated[int, typer.Option(metavar="M", help="So many shares rebuild it.")],
    holder: Annotated[
        list[Path], typer.Option(metavar="FILE", help="A holder's statement; one option each.")
    ],
    reason: Reason,
    supersedes: Annotated[
        UUID | None, typer.Option(metavar="KEY", help="The backup key that it replaces.")
    ] = None,
    scope: ScopeText = None,
    session: SessionDir = None,
) -> None:
    """Ask for a key that wraps backups, shared among its holders (SLIP-39).

    Without --scope it is for the keys of every scope and for the service's own.
    """
    holders = tuple(read_holder(path) for path in holder)
    wanted = MakeBackupKey(label, threshold, holders, supersedes, reason)
    ask(session, wanted, Scope.parse(scope) if scope else None)


@command(app, "keys", "keyvault backups keys")
def keys(session: SessionDir = None) -> None:
    """List the keys that wrap backups."""
    found = connect(session).get("/v1/backup-keys")
    rows = ([one[name] for name in KEY_COLUMNS] for one in found["items"])
    answer(found, table([name.replace("_", " ") for name in KEY_COLUMNS], rows))


@command(app, "destroy-key", "keyvault backups destroy-key KEY --reason 'it was replaced'")
def destroy_key(
    backup_key: Annotated[UUID, typer.Argument(metavar="KEY", help="Id of the backup key.")],
    reason: Reason,
    scope: ScopeText = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask for a backup key to be destroyed. Its shares are destroyed by hand, and recorded."""
    wanted = DestroyBackupKey(backup_key, reason)
    ask(session, wanted, Scope.parse(scope) if scope else None, yes=yes)


@command(
    app,
    "make",
    "keyvault backups make --backup-key KEY --out all.backup --place 'safe 2' --owner bob",
)
def make(
    backup_key: Annotated[UUID, typer.Option(metavar="KEY", help="What wraps it.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write it.")],
    place: Annotated[str, typer.Option(metavar="TEXT", help="Where the file will lie.")],
    owner: Annotated[str, typer.Option(metavar="TEXT", help="Who answers for it.")],
    scope: ScopeText = None,
    session: SessionDir = None,
) -> None:
    """Back up keys. What its class keeps in the token is named in the file, and not in it."""
    body = {"backup_key": str(backup_key), "place": place, "owner": owner}
    asked = body | ({"scope": Scope.parse(scope).document()} if scope else {})
    server = connect(session)
    with out.open("xb") as file:
        told = server.post_to("/v1/backups", asked, file)
    found = server.get(f"/v1/backups/{told['backup-id']}")
    if _sha256(out) != found["sha256"]:
        raise EvidenceError("the file is not what was signed", next_step="make it again")
    if found["left_out"]:
        say(f"{found['left_out']} keys are NOT in it; see: keyvault backups verify {out}")
    answer(found, facts((name.replace("_", " "), value) for name, value in found.items()))


@command(app, "list", "keyvault backups list")
def list_backups(limit: Limit = 50, after: After = None, session: SessionDir = None) -> None:
    """List backups, the newest first."""
    found = connect(session).get("/v1/backups", limit=limit, after=after)
    rows = ([one[name] for name in COLUMNS] for one in found["items"])
    answer(found, table([name.replace("_", " ") for name in COLUMNS], rows))


@command(app, "show", "keyvault backups show BACKUP")
def show(backup: BackupId, session: SessionDir = None) -> None:
    """Show one backup: what it holds, where it lies, who answers for it."""
    found = connect(session).get(f"/v1/backups/{backup}")
    answer(found, facts((name.replace("_", " "), value) for name, value in found.items()))


@command(app, "verify", "keyvault backups verify all.backup")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    session: SessionDir = None,
) -> None:
    """Check a backup's signature and every line; list what is not in it."""
    here = open_session(session)
    spki = log.look(Server.of(here), here).authority.services.evidence
    found = verified(file, spki)
    for one in found["not_in_it"]:
        say(f"not in it: {one['key']} {one['label']}: {one['reason']}")
    shown = {name: value for name, value in found.items() if name != "not_in_it"}
    answer(found, facts((name.replace("_", " "), value) for name, value in shown.items()))


@command(app, "destroy", "keyvault backups destroy BACKUP --how 'both disks shredded'")
def destroy(
    backup: BackupId,
    how: Annotated[str, typer.Option(metavar="TEXT", help="How every copy was destroyed.")],
    session: SessionDir = None,
) -> None:
    """Record that every copy of a backup's file was destroyed."""
    found = connect(session).post(f"/v1/backups/{backup}/destruction", {"how": how})
    answer(found, facts((name.replace("_", " "), value) for name, value in found.items()))


def _sha256(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
