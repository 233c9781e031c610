"""The log's archive on the service's own host, and the check of the whole log."""

import getpass
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.command import DEFAULT_CONFIG, ConfigFile, command, group
from cli.errors import EvidenceError
from cli.output import answer, facts, say
from keyvault import bootstrap
from keyvault.archive import reader
from keyvault.domain.audit import EventType
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.times import time_of
from keyvault.gate.client import Gate
from keyvault.operations import archive as archives
from keyvault.operations import fsck as checking
from keyvault.operations.audit import EventQuery
from keyvault.operations.vault import Vault
from keyvault.settings import Settings

app = group("Keep the log for years.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The archive.")]
Type = Annotated[EventType | None, typer.Option("--type", metavar="TYPE", help="Only these.")]
Stream = Annotated[str | None, typer.Option(metavar="TEXT", help="Such as key:ID.")]
Actor = Annotated[str | None, typer.Option(metavar="TEXT", help="Such as person:alice.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="From this time on.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.")]


@command(app, "archive", "keyvault audit archive 2026 --out archive-2026")
def archive(
    year: Annotated[int, typer.Argument(metavar="YEAR", min=1970, max=9999)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Write a year of the log as tiles that any tlog tool reads, with all that evidence needs."""
    with _vault(config) as vault:
        told = archives.write(vault, year, out)
    say(f"check it where it will lie: keyvault audit archive-check {out}")
    if datetime.now(UTC).year <= year:
        say(f"{year} is not over: write it again when it is")
    answer(told, facts([*told.items()]))


@command(app, "archive-check", "keyvault audit archive-check archive-2026")
def archive_check(folder: Folder) -> None:
    """Check an archive by itself: every file, every leaf, and the tree up to the checkpoint."""
    opened = reader.opened(folder)
    try:
        events = opened.check()
    except InvalidInputError as error:
        raise EvidenceError(str(error), next_step="keep it, and take another copy") from error
    checkpoint = opened.checkpoint
    told: Document = {
        "events": events,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
    }
    answer(told, facts([*told.items()]))


@command(
    app,
    "archive-export",
    "keyvault audit archive-export archive-2026 --out evidence.zip --since 2026-04-01T00:00:00Z",
)
def archive_export(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the bundle.")],
    kind: Type = None,
    stream: Stream = None,
    actor: Actor = None,
    since: Since = None,
    until: Until = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Export evidence from an archive alone: no database is asked, only the gate signs."""
    if out.exists():
        raise InvalidInputError(f"{out} exists already and is left alone")
    times = [time_of(at) if at else None for at in (since, until)]
    query = EventQuery(type=kind, stream=stream, actor=actor, since=times[0], until=times[1])
    _exported(Settings.load(config), reader.opened(folder), query, out)
    say(f"verify it anywhere: keyvault audit verify {out}")
    answer({"file": str(out)}, str(out))


def _exported(settings: Settings, opened: reader.Archive, query: EventQuery, out: Path) -> None:
    requester = f"host:{getpass.getuser()}"
    with (
        closing(Gate(settings.keys.socket, records_from=lambda _: [])) as gate,
        out.open("xb") as file,
    ):
        archives.export(opened, query, requester, file, gate.sign_manifest)


@command(app, "fsck", "keyvault audit fsck --config keyvault.toml")
def fsck(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Read the whole log again and hold it against its tree, tiles and checkpoints."""
    with _vault(config) as vault:
        found = checking.fsck(vault, f"host:{getpass.getuser()}")
    told: Document = {
        "events": found.size,
        "tiles": found.tiles,
        "checkpoints": found.checkpoints,
        "erased": found.erased,
    }
    if found.wrong:
        raise EvidenceError(found.wrong, next_step="stop, keep every copy, see runbook log-broken")
    answer({**told, "root": found.root}, facts([*told.items(), ("root", found.root)]))


@contextmanager
def _vault(config: Path) -> Iterator[Vault]:
    vault = bootstrap.build(Settings.load(config))
    try:
        yield vault
    finally:
        vault.close()
