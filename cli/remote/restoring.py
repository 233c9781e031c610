"""Restoring a backup into the second token, and the drill that shows that it can be done."""

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.errors import FindingsError
from cli.output import answer, facts, grouped, say, table
from cli.remote.asking import ask
from cli.remote.backups import BackupId, Reason
from cli.remote.client import After, Limit, connect
from cli.remote.given import Yes
from cli.state import SessionDir
from keyvault.domain.canonical import Document
from keyvault.domain.commands import RestoreBackup, SetSpareKey
from keyvault.domain.people import thumbprint
from keyvault.domain.scopes import Scope

app = group("Restorations and drills.")
PART = 196_608  # bytes in one call
COLUMNS = ("id", "backup", "drill", "state", "begun_at", "done_at")
RestorationId = Annotated[UUID, typer.Argument(metavar="RESTORATION", help="Its id.")]


def _ask(session: Path | None, backup: UUID, reason: str, *, drill: bool) -> None:
    server = connect(session)
    found = server.get(f"/v1/backups/{backup}")
    [key] = [
        one for one in server.get("/v1/backup-keys")["items"] if one["id"] == found["backup_key"]
    ]
    wanted = RestoreBackup(
        backup=backup,
        backup_key=UUID(key["id"]),
        sha256=found["sha256"],
        threshold=key["threshold"],
        share_set=key["share_set"],
        check_value=key["check_value"],
        drill=drill,
        reason=reason,
    )
    ask(session, wanted, Scope(**key["scope"]) if key["scope"] else None)
    say(f"once it is executed, {key['threshold']} holders: keyvault shares enter RESTORATION")


@command(app, "restore", "keyvault backups restore BACKUP --reason 'the token is broken'")
def restore(backup: BackupId, reason: Reason, session: SessionDir = None) -> None:
    """Ask for a backup to be restored into the second token, where it stays."""
    _ask(session, backup, reason, drill=False)


@command(app, "drill", "keyvault backups drill BACKUP --reason 'quarterly drill'")
def drill(backup: BackupId, reason: Reason, session: SessionDir = None) -> None:
    """Ask for a drill: everything is restored and compared in the second token, then destroyed."""
    _ask(session, backup, reason, drill=True)


@command(app, "spare-key", "keyvault backups spare-key --reason 'the second token was set up'")
def spare_key(reason: Reason, yes: Yes = False, session: SessionDir = None) -> None:
    """Ask that holders of shares believe the second token's gate by its own key, from now on."""
    found = connect(session).get("/v1/spare-key")
    spki = b64decode(found["spki"])
    say(
        f"the key is {grouped(thumbprint(spki))}: compare it with the log of that gate, on its host"
    )
    ask(session, SetSpareKey(spki, reason), yes=yes)


@command(app, "load", "keyvault backups load RESTORATION --file all.backup")
def load(
    restoration: RestorationId,
    file: Annotated[Path, typer.Option(metavar="FILE", help="The backup.")],
    session: SessionDir = None,
) -> None:
    """Once the shares are in: restore every key of the file, compare it, and end with a verdict."""
    server, offset = connect(session), 0
    with file.open("rb") as lines:
        while part := lines.read(PART):
            body = {"offset": offset, "lines": b64encode(part).decode()}
            server.post(f"/v1/restorations/{restoration}/lines", body)
            offset += len(part)
    done = server.post(f"/v1/restorations/{restoration}/completion", {"keep": True})
    _tell(done)
    if done["state"] != "done":
        raise FindingsError(
            "the restoration failed, and what it put on the token is gone again",
            next_step=f"see: keyvault backups restoration {restoration}",
        )


@command(app, "give-up", "keyvault backups give-up RESTORATION")
def give_up(restoration: RestorationId, session: SessionDir = None) -> None:
    """End a restoration that leads nowhere, and undo what it did."""
    _tell(connect(session).post(f"/v1/restorations/{restoration}/completion", {"keep": False}))


@command(app, "restoration", "keyvault backups restoration RESTORATION")
def restoration(restoration: RestorationId, session: SessionDir = None) -> None:
    """Show a restoration or drill: whose shares are in, and what came of it."""
    _tell(connect(session).get(f"/v1/restorations/{restoration}"))


@command(app, "restorations", "keyvault backups restorations")
def restorations(limit: Limit = 50, after: After = None, session: SessionDir = None) -> None:
    """List restorations and drills, the newest first."""
    found = connect(session).get("/v1/restorations", limit=limit, after=after)
    rows = ([one[name] for name in COLUMNS] for one in found["items"])
    answer(found, table([name.replace("_", " ") for name in COLUMNS], rows))


def _tell(done: Document) -> None:
    shown = {**done, **(done["report"] or {})}
    hidden = ("report", "entry", "entry_signature")
    pairs = ((name.replace("_", " "), value) for name, value in shown.items())
    answer(done, facts(pair for pair in pairs if pair[0] not in hidden))
