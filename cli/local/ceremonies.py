"""Ceremonies at the table: check, print, rehearse, run and go on."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from cli.command import command, group
from cli.local.book import Book
from cli.local.ceremony_papers import blank_script, transcript_paper
from cli.local.conducting import Conductor, Need, Purse, Table
from cli.local.door import Door
from cli.local.rehearsal import rehearse as rehearsed
from cli.local.seats import EXAMPLE, Seat, seated
from cli.output import answer, facts, grouped, say
from cli.passphrases import PassphraseFd, Secrets
from cli.state import SessionDir
from keyvault import durable, signatures
from keyvault.domain.canonical import Document, canonical, parse
from keyvault.domain.ceremonies import Act, Script
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.journals import (
    TRANSCRIPT_LIMIT,
    Journal,
    Mode,
    Transcript,
    check,
    outcome_of,
)
from keyvault.scripts import read_script

app = group("Ceremonies: scripts that people review, hold step by step and sign.")

SCRIPT, PEOPLE, OPENING = "script.yaml", "people.txt", "opening.json"
TRANSCRIPT = "transcript"

ScriptFile = Annotated[Path, typer.Argument(metavar="SCRIPT", help="The script, in YAML.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the ceremony.")]
Persons = Annotated[
    list[str] | None, typer.Option("--person", metavar="SPEC", help=f"{EXAMPLE}; one a role.")
]
Values = Annotated[
    list[str] | None,
    typer.Option("--value", metavar="STEP=TEXT", help="What a step will ask for; repeat."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Go through all steps without asking.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")]


@command(app, "check", "keyvault ceremony check ceremonies/genesis.yaml")
def check_(script: ScriptFile) -> None:
    """Read a script strictly and show what it is: the SHA-256 is what people review and approve."""
    found = read_script(_bytes(script))
    value: Document = {
        "script": found.name,
        "version": found.version,
        "title": found.title,
        "sha256": found.sha256,
        "roles": dict(found.roles),
        "steps": [f"{step.id}: {step.kind}" for step in found.steps],
        "needs_service": found.needs_service,
    }
    roles = [f"{role}: {duty}" for role, duty in found.roles.items()]
    answer(value, facts({**value, "sha256": grouped(found.sha256), "roles": roles}.items()))


@command(app, "print", "keyvault ceremony print ceremonies/genesis.yaml --out paper")
def print_(script: ScriptFile, out: Out) -> None:
    """Write the script as HTML and PDF, with blanks for times, values and initials."""
    found = read_script(_bytes(script))
    paper = blank_script(found, datetime.now(UTC))
    out.mkdir(parents=True, exist_ok=True)
    files = {"html": out / f"{found.name}.html", "pdf": out / f"{found.name}.pdf"}
    durable.replace(files["html"], paper.html().encode())
    durable.replace(files["pdf"], paper.pdf())
    made = {"sha256": found.sha256, **{kind: str(path) for kind, path in files.items()}}
    answer(made, facts({**made, "sha256": grouped(found.sha256)}.items()))


@command(app, "rehearse", "keyvault ceremony rehearse ceremonies/genesis.yaml --out rehearsal")
def rehearse(script: ScriptFile, out: Out) -> None:
    """Hold the whole script on throw-away tokens; only a transcript stays, marked as rehearsal."""
    text = _bytes(script)
    found = read_script(text)
    before = [read_script(_bytes(script.with_name(f"{found.after}.yaml")))] if found.after else []
    _new(out)
    journal = rehearsed([*before, found])
    _tell(_transcribed(out, text.decode(), found, journal))


@command(
    app,
    "run",
    "keyvault ceremony run ceremonies/genesis.yaml --out genesis-2026"
    " --person 'role=officer-1,id=alice,name=Alice Ash,reviewed=2026-01-31,reference=HR-17,"
    "credential=alice.key' --person … --person …",
)
def run(
    script: ScriptFile,
    out: Out,
    person: Persons = None,
    value: Values = None,
    yes: Yes = False,
    session: SessionDir = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Hold a ceremony step by step: each is signed by the people named and kept at once.

    Several people at one terminal each unlock their own credential for what they sign.
    """
    text = _bytes(script)
    found = read_script(text)
    seats = seated(person or [], found.roles)
    door = Door.of(session) if found.needs_service else None
    if door:
        door.check(seats)
    _new(out)
    opening = _opening(found, seats)
    durable.create(out / SCRIPT, text)
    durable.create(out / PEOPLE, "\n".join(person or []).encode())
    durable.create(out / OPENING, canonical(opening))
    _hold(Table(out, found, seats, _purse(passphrase_fd), opening, yes=yes), door, value)


@command(app, "resume", "keyvault ceremony resume genesis-2026")
def resume(
    folder: Folder,
    value: Values = None,
    yes: Yes = False,
    session: SessionDir = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Go on with a ceremony that was paused or cut off, at the first step that is not settled."""
    text = _bytes(folder / SCRIPT)
    found = read_script(text)
    seats = seated((folder / PEOPLE).read_text().splitlines(), found.roles)
    door = Door.of(session) if found.needs_service else None
    opening = parse(_bytes(folder / OPENING))
    if door:
        door.check(seats)
    _hold(Table(folder, found, seats, _purse(passphrase_fd), opening, yes=yes), door, value)


def _hold(table: Table, door: Door | None, values: list[str] | None) -> None:
    table.values = _pairs(values or [])
    text = _bytes(table.folder / SCRIPT)
    with Book(table.folder) as book:
        if book.journal.entries:
            check(book.journal, table.script, signatures.verify)
        if door:
            door.start(table.opening["ceremony"], text)
            table.enter = lambda seat: door.enter(seat, table.folder, _for_login(table.purse))
        ended = book.journal.ended
        journal = book.journal if ended else Conductor(table, book).hold()
    shutil.rmtree(table.folder / "sessions", ignore_errors=True)
    made = _transcribed(table.folder, text.decode(), table.script, journal)
    handed_in = door is not None and door.close(made["ceremony"], _bytes(Path(made["json"])))
    if not handed_in:
        say(f"hand it in once the service runs: keyvault ceremony register {made['json']}")
    _tell({**made, "registered": handed_in})


def _for_login(purse: Purse) -> dict[str, int]:
    return purse.for_command(Need(Act(secrets=1)))


def _transcribed(folder: Path, text: str, script: Script, journal: Journal) -> Document:
    """Write the transcript in its three forms; their names end with what they are."""
    transcript = Transcript(text, journal)
    check(journal, script, signatures.verify)
    data = transcript.encoded()
    sha256 = transcript.sha256
    paper = transcript_paper(transcript, script, sha256)
    for kind, content in (("json", data), ("html", paper.html().encode()), ("pdf", paper.pdf())):
        durable.replace(folder / f"{TRANSCRIPT}.{kind}", content)
    return {
        "ceremony": str(transcript.ceremony),
        "mode": str(transcript.mode),
        "outcome": outcome_of(journal),
        "deviations": journal.deviations(),
        "sha256": sha256,
        **{kind: str(folder / f"{TRANSCRIPT}.{kind}") for kind in ("json", "html", "pdf")},
    }


def _opening(script: Script, seats: dict[str, Seat]) -> Document:
    return {
        "ceremony": str(uuid4()),
        "mode": str(Mode.RUN),
        "script_sha256": script.sha256,
        "title": script.title,
        "people": [seat.participant.document() for seat in seats.values()],
    }


def _purse(descriptor: int | None) -> Purse:
    return Purse(Secrets(descriptor), descriptor)


def _pairs(given: list[str]) -> dict[str, str]:
    split = [text.partition("=") for text in given]
    if not all(name and equals for name, equals, _ in split):
        raise InvalidInputError("a value is written STEP=TEXT")
    return {name: value for name, _, value in split}


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(TRANSCRIPT_LIMIT + 1)


def _new(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInputError(f"{folder} is not empty and is left alone", next_step="name a new")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _tell(made: Document) -> None:
    answer(made, facts({**made, "sha256": grouped(made["sha256"])}.items()))
