"""One place with a reader where tokens are made: insert, wait, take out, hand over."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.desk.relaying import relay
from cli.errors import UsageError
from cli.output import answer, facts, say, table
from cli.remote.client import Server, connect
from cli.state import SessionDir
from hsm.errors import CardAbsentError, CardError, CardMuteError, CardRemovedError
from hsm.pcsc.reader import PcscCard, list_readers, wait_for_card
from keyvault.domain.canonical import Document

app = group("The reader on this desk, lent to the service that makes tokens.")
INSERT_SECONDS = 600.0
AGAIN = ("card-removed", "card-mute", "card-service-unavailable", "card-reader-busy")
ROUNDS = 20  # insertions of one token before the desk gives up

JobId = Annotated[UUID, typer.Argument(metavar="JOB", help="Issuing job.")]
Station = Annotated[str, typer.Option(metavar="NAME", help="This desk, as the settings name it.")]
Reader = Annotated[
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


@command(app, "issue", "keyvault desk issue JOB --station leeds-1")
def issue(job: JobId, station: Station, reader: Reader = None, session: SessionDir = None) -> None:
    """Make one token: follow what is said here. A token that was pulled is put in again."""
    name = reader or _only_reader()
    server = connect(session)
    ended = _made(server, f"/v1/issuing/jobs/{job}", station, name)
    _told(server, job, ended)


@command(app, "batch", "keyvault desk batch BATCH --station leeds-1")
def batch(
    batch_id: Annotated[UUID, typer.Argument(metavar="BATCH", help="Batch of jobs.")],
    station: Station,
    reader: Reader = None,
    session: SessionDir = None,
) -> None:
    """Make every open token of a batch, one after another, and reconcile: in, out, spoiled.

    Several desks may work on one batch: a job that another desk is at is left to it.
    """
    name, server = reader or _only_reader(), connect(session)
    left: set[str] = set()
    while job := _next(server, batch_id, left):
        token = server.get(f"/v1/tokens/{job['token']}")
        say(f"next is token {token['serial']} for {token['holder']}")
        ended = _made(server, f"/v1/issuing/jobs/{job['id']}", station, name)
        if ended["do"] == "failed":
            say(f"{ended['detail']}: {ended['next_step']}")
            left.add(str(job["id"]))
        say("take the token out")
        wait_for_card(name, present=False, seconds=INSERT_SECONDS)
    found = server.get(f"/v1/issuing/batches/{batch_id}")
    answer(found, facts((k, v) for k, v in found.items() if k != "standing"))


def _next(server: Server, batch_id: UUID, left: set[str]) -> Document | None:
    for standing in ("interrupted", "open"):
        page = server.get("/v1/issuing/jobs", batch=batch_id, standing=standing, limit=200)
        for job in page["items"]:
            if job["id"] not in left:
                return dict(job)
    return None


def _made(server: Server, path: str, station: str, reader: str) -> Document:
    """Insert until it is done, or fails for good."""
    say(f"put the token into {reader}")
    for _ in range(ROUNDS):
        if not wait_for_card(reader, seconds=INSERT_SECONDS):
            raise CardAbsentError(f"no token was put into {reader}", next_step="begin again")
        ended = _inserted(server, path, station, reader)
        if ended["do"] == "done" or ended["code"] not in AGAIN:
            return ended
        say(f"{ended['detail']}. Put the SAME token in again: nothing is lost")
        wait_for_card(reader, present=False, seconds=2.0)
    raise CardRemovedError(
        f"the token was pulled {ROUNDS} times", next_step="look at the reader, then begin again"
    )


def _inserted(server: Server, path: str, station: str, reader: str) -> Document:
    try:
        with PcscCard(reader) as card:
            return relay(server, path, station, card, _progress)
    except (CardRemovedError, CardMuteError, CardAbsentError) as error:
        return {"do": "failed", "code": AGAIN[0], "detail": str(error), "next_step": ""}
    except CardError as error:
        told = {"detail": str(error), "next_step": error.next_step}
        return {"do": "failed", "code": error.code, **told}


def _progress(told: str) -> None:
    say(f"... {told}")


def _told(server: Server, job: UUID, ended: Document) -> None:
    if ended["do"] == "failed":
        raise _FailedError(str(ended["detail"]), str(ended["code"]), str(ended["next_step"]))
    found = server.get(f"/v1/issuing/jobs/{job}")
    pairs = [(name, found[name]) for name in ("id", "token", "step", "standing", "guidance")]
    answer(found, facts(pairs))


class _FailedError(CardError):
    """What the service says is wrong with the token, under the service's own code."""

    def __init__(self, message: str, code: str, next_step: str) -> None:
        super().__init__(message, next_step=next_step)
        self.code = code


def _only_reader() -> str:
    names = [reader.name for reader in list_readers()]
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError("there is no card reader", next_step="plug one in")
    raise UsageError(
        f"there are {len(names)} readers",
        next_step=f"name one: {' or '.join(f'--reader {name!r}' for name in names)}",
    )
