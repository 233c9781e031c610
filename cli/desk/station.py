"""One place with a reader where tokens are made: insert, wait, take out, hand over."""

import threading
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.desk.hopper import run_batch
from cli.desk.relaying import AGAIN, inserted, relay
from cli.desk.reporting import plugged, watched
from cli.errors import INTERRUPTED, UsageError
from cli.output import answer, facts, say, table
from cli.remote.client import Server, connect
from cli.remote.issuing import on_the_table, reconciled
from cli.state import SessionDir
from hsm.errors import CardAbsentError, CardError, CardRemovedError
from hsm.pcsc.reader import list_readers, wait_for_card
from hsm.usb import UsbReader
from keyvault.domain.canonical import Document

app = group("The reader on this desk, lent to the service that makes tokens.")
INSERT_SECONDS = 600.0
ROUNDS = 20  # insertions of one token before the desk gives up

JobId = Annotated[UUID, typer.Argument(metavar="JOB", help="Issuing job.")]
Station = Annotated[str, typer.Option(metavar="NAME", help="This desk, as the settings name it.")]
ReaderName = Annotated[
    str | None, typer.Option("--reader", metavar="NAME", help="Which reader, if there are several.")
]
Module = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="For a token with a PKCS#11 module of its own: the module."),
]


@command(app, "readers", "keyvault desk readers")
def readers() -> None:
    """List the readers of this host and what is in them."""
    found = list_readers()
    rows = [[each.name, each.atr.hex() or "no card"] for each in found]
    documents: list[Document] = [{"reader": r.name, "atr": r.atr.hex()} for r in found]
    answer({"items": documents}, table(["reader", "card"], rows))


@command(
    app,
    "issue",
    "keyvault desk issue JOB --station leeds-1",
    "keyvault desk issue JOB --station leeds-1 --module /usr/lib/softhsm/libsofthsm2.so",
)
def issue(
    job: JobId,
    station: Station,
    reader: ReaderName = None,
    module: Module = None,
    session: SessionDir = None,
) -> None:
    """Make one token; you are told what to do.

    A token that was pulled is put in again.
    """
    server, path = connect(session), f"/v1/issuing/jobs/{job}"
    if module is None:
        name = chosen_reader(reader)
        with watched(connect(session), station, name, say):
            ended = _made(server, path, station, name)
    else:
        with plugged(connect(session), station, module.name, say):
            ended = relay(server, path, station, UsbReader(str(module)), progress)
    _told(server, job, ended)


@command(app, "batch", "keyvault desk batch BATCH --at 'leeds-1=Reader A' --at 'leeds-2=Reader B'")
def batch(
    batch_id: Annotated[UUID, typer.Argument(metavar="BATCH", help="Batch of jobs.")],
    at: Annotated[
        list[str],
        typer.Option(
            metavar="STATION=READER", help="A station and its reader; several side by side."
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where each finished token's label (PDF) goes."),
    ] = None,
    session: SessionDir = None,
) -> None:
    """Make a batch at several stations; you are told what to do.

    One screen says for each station what to do: put in, leave in, take out, hand over. Several
    desks may work on one batch: a job that another is at is left to it. ^C leaves, with exit
    status 130 if something is left to do; the same command goes on. At the end: tokens in, out,
    spoiled.
    """
    places = _places(at)
    if labels is not None:
        labels.mkdir(parents=True, exist_ok=True)
    found, left = run_batch(lambda: connect(session), batch_id, places, labels)
    answer(found, reconciled(found))
    say(on_the_table(found))
    if left and found["open"]:
        raise typer.Exit(INTERRUPTED)


@command(app, "watch", "keyvault desk watch --station leeds-1")
def watch(station: Station, reader: ReaderName = None, session: SessionDir = None) -> None:
    """Tell the service how this station's reader is, while nothing is made; ends with Ctrl-C.

    `issue` and `batch` tell it themselves. A server that is down meanwhile is waited for.
    """
    server, name = connect(session), chosen_reader(reader)
    known = [str(one["name"]) for one in server.get("/v1/issuing/stations")["items"]]
    if station not in known:
        raise UsageError(
            f"no station is called {station!r}",
            next_step=f"use one of: {', '.join(known) or 'none is in the settings'}",
        )
    with watched(server, station, name, say):
        threading.Event().wait()


def _places(at: list[str]) -> list[tuple[str, str]]:
    """Stations and their readers. Raises `UsageError` before anything is begun."""
    places, there = [_place(each) for each in at], [reader.name for reader in list_readers()]
    for which in zip(*places, strict=True):
        if len(set(which)) < len(which):
            raise UsageError("a station has one reader, and a reader is at one station")
    unknown = sorted({reader for _, reader in places} - set(there))
    if unknown:
        raise UsageError(
            f"there is no reader {unknown[0]!r}",
            next_step=f"plug it in, or name one of: {', '.join(there) or 'none is there'}",
        )
    return places


def _place(text: str) -> tuple[str, str]:
    station, equals, reader = text.partition("=")
    if not equals:
        raise UsageError(
            f"{text!r} is not of the form STATION=READER", next_step="see: keyvault desk readers"
        )
    return station, reader


def _made(server: Server, path: str, station: str, reader: str) -> Document:
    """Insert until it is done, or fails for good."""
    say(f"put the token into {reader}, and leave it there until you are told to take it out")
    for _ in range(ROUNDS):
        if not wait_for_card(reader, seconds=INSERT_SECONDS):
            raise CardAbsentError(f"no token was put into {reader}", next_step="begin again")
        ended = inserted(server, path, station, reader, progress)
        if ended["do"] == "done" or ended["code"] not in AGAIN:
            return ended
        say(f"{ended['detail']}: put the SAME token in again, nothing is lost")
        wait_for_card(reader, present=False, seconds=2.0)
    raise CardRemovedError(
        f"the token was pulled {ROUNDS} times", next_step="look at the reader, then begin again"
    )


def progress(told: str) -> None:
    say(f"leave it in: {told}")


def refused(ended: Document) -> None:
    """Raise what the service says is wrong with the token, if it does."""
    if ended["do"] == "failed":
        raise _FailedError(str(ended["detail"]), str(ended["code"]), str(ended["next_step"]))


def _told(server: Server, job: UUID, ended: Document) -> None:
    refused(ended)
    found = server.get(f"/v1/issuing/jobs/{job}")
    names = ("id", "token", "step", "standing", "interruptions", "tries", "guidance")
    pairs = [(name, found[name]) for name in names]
    answer(found, facts(pairs))


class _FailedError(CardError):
    """What the service says is wrong with the token, under the service's own code."""

    def __init__(self, message: str, code: str, next_step: str) -> None:
        super().__init__(message, next_step=next_step)
        self.code = code


def chosen_reader(name: str | None) -> str:
    """The reader that was named, or the only one. Raises `UsageError`."""
    if name is not None:
        return name
    names = [reader.name for reader in list_readers()]
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError("there is no card reader", next_step="plug one in")
    raise UsageError(
        f"there are {len(names)} readers",
        next_step=f"name one: {' or '.join(f'--reader {name!r}' for name in names)}",
    )
