"""What went to a job's token and came back, session by session; `sha256sum` and the log agree."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table

from cli.command import command, group
from cli.output import answer, printable, say, table
from cli.remote.client import connect
from cli.remote.issuing import JobId
from cli.state import SessionDir
from keyvault.domain.canonical import Document

app = group("")
_HEADS = ("at", "what", "about", "header", "lc", "le", "data", "got", "status", "error", "ms")


@command(app, "trace", "keyvault issuing trace JOB", "keyvault issuing trace JOB --out traces/")
def trace(
    job: JobId,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where each session's text goes, for an auditor."),
    ] = None,
    session: SessionDir = None,
) -> None:
    """Tell what went to a job's token and what came back, in every session that is kept.

    No secret is in it: PINs, keys and answers are only counted. The job's events name each
    session's text by its SHA-256: `keyvault audit verify FILE --trace TEXT` holds it against them.
    """
    server = connect(session)
    found = server.get(f"/v1/issuing/jobs/{job}/traces")["items"]
    texts = [server.get_bytes(f"/v1/issuing/traces/{one['session']}") for one in found]
    if out is not None:
        _written(out, found, texts)
    read = [[json.loads(line) for line in text.splitlines()] for text in texts]
    items = [{**one, "exchanges": lines[1:]} for one, lines in zip(found, read, strict=True)]
    shown = [part for one, lines in zip(found, read, strict=True) for part in _shown(one, lines)]
    answer({"sessions": items}, Group(*shown))
    if not found:
        say("no session of this job is kept")


def _written(folder: Path, found: list[Document], texts: list[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for one, text in zip(found, texts, strict=True):
        path = folder / f"{one['job']}-{one['session']}.ndjson"
        path.write_bytes(text)
        say(f"{path} has SHA-256 {one['sha256']}")


def _shown(one: Document, lines: list[Document]) -> list[str | Table]:
    head = f"session {one['session']}, {lines[0]['station'] or 'before its holder'},"
    title = f"{head} begun {lines[0]['began']}, SHA-256 {one['sha256']}"
    return [printable(title), table(_HEADS, [_row(each) for each in lines[1:]]), ""]


def _row(line: Document) -> list[object]:
    at = datetime.fromtimestamp(line["at"] / 1000, UTC)
    return [f"{at:%H:%M:%S}.{line['at'] % 1000:03}", *(line[name] for name in _NAMES)]


_NAMES = ("what", "about", "header", "lc", "le", "data", "got", "status", "error", "took")
