"""The register of ceremonies, and what a transcript is worth."""

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.output import answer, facts, grouped, say, say_more, table
from cli.remote.client import After, Limit, connect
from cli.state import SessionDir, write_private
from keyvault import signatures
from keyvault.domain.canonical import Document
from keyvault.domain.errors import CeremonyError
from keyvault.domain.journals import (
    TRANSCRIPT_LIMIT,
    Transcript,
    check,
    outcome_of,
    participants,
)
from keyvault.scripts import read_script

app = group("Ceremonies that were held.")

CeremonyId = Annotated[UUID, typer.Argument(metavar="CEREMONY", help="Id of the ceremony.")]
TranscriptFile = Annotated[Path, typer.Argument(metavar="TRANSCRIPT", help="transcript.json.")]


@command(app, "list", "keyvault ceremony list")
def list_(limit: Limit = 50, after: After = None, session: SessionDir = None) -> None:
    """List ceremonies, newest first: by which script, and how they ended."""
    page = connect(session).get("/v1/ceremonies", limit=limit, after=after)
    names = ("id", "title", "started_at", "started_by", "outcome", "deviations")
    rows = [[one[name] for name in names] for one in page["items"]]
    answer(page, table([name.replace("_", " ") for name in names], rows))
    say_more(page)


@command(
    app,
    "show",
    "keyvault ceremony show CEREMONY",
    "keyvault ceremony show CEREMONY --out transcript.json",
)
def show(
    ceremony: CeremonyId,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the transcript here.")
    ] = None,
    session: SessionDir = None,
) -> None:
    """Show a ceremony, and fetch its transcript."""
    server = connect(session)
    found = server.get(f"/v1/ceremonies/{ceremony}")
    if out is not None:
        data = b64decode(server.get(f"/v1/ceremonies/{ceremony}/transcript")["transcript"])
        if Transcript.read(data).sha256 != found["sha256"]:
            raise CeremonyError("the service answered with another transcript than it names")
        write_private(out, data)
        say(f"the transcript is in {out}")
    answer(found, facts(found.items()))


@command(app, "register", "keyvault ceremony register genesis-2026/transcript.json")
def register(transcript: TranscriptFile, session: SessionDir = None) -> None:
    """Hand in a transcript whose ceremony was held without a service, as the genesis is."""
    data = _bytes(transcript)
    found, server = _checked(data), connect(session)
    script = b64encode(found.script.encode()).decode()
    server.post("/v1/ceremonies", {"id": str(found.ceremony), "script": script})
    body = {"transcript": b64encode(data).decode()}
    done = server.post(f"/v1/ceremonies/{found.ceremony}/transcript", body)
    answer(done, facts(done.items()))


@command(
    app,
    "verify",
    "keyvault ceremony verify genesis-2026/transcript.json",
    "keyvault ceremony verify transcript.json --registered",
)
def verify(
    transcript: TranscriptFile,
    registered: Annotated[
        bool, typer.Option("--registered", help="Compare with the register, too.")
    ] = False,
    session: SessionDir = None,
) -> None:
    """Check a transcript by itself: its chain, its script, and every signature in it."""
    found = _checked(_bytes(transcript))
    value = _about(found)
    if registered:
        kept = connect(session).get(f"/v1/ceremonies/{found.ceremony}")
        if kept["sha256"] != found.sha256:
            raise CeremonyError(
                "the register knows another transcript of this ceremony",
                next_step="keep both, and ask the auditor for the event in the log",
            )
        value["registered"] = True
    answer(value, facts({**value, "sha256": grouped(found.sha256)}.items()))


def _checked(data: bytes) -> Transcript:
    found = Transcript.read(data)
    script = read_script(found.script.encode())
    check(found.journal, script, signatures.verify)
    if not found.journal.ended:
        raise CeremonyError("the ceremony has not ended", next_step="keyvault ceremony resume")
    return found


def _about(found: Transcript) -> Document:
    people = participants(found.journal.opening)
    return {
        "ceremony": str(found.ceremony),
        "title": str(found.journal.opening["title"]),
        "mode": str(found.mode),
        "outcome": outcome_of(found.journal),
        "deviations": found.journal.deviations(),
        "script_sha256": read_script(found.script.encode()).sha256,
        "sha256": found.sha256,
        "people": [f"{one.role}: {one.name} ({one.person})" for one in people],
    }


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(TRANSCRIPT_LIMIT + 1)
