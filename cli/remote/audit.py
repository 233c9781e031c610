"""The log: read it, prove things about it, export it as evidence, verify evidence anywhere."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cli.command import command, group
from cli.errors import LogForkError
from cli.output import answer, say, say_more, table
from cli.remote import log
from cli.remote.client import After, Limit, Server, connect
from cli.state import SessionDir, open_session
from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.notes import tlog_proof
from keyvault.domain.times import time_of
from keyvault.domain.tree import ProofError, verify_inclusion
from keyvault.paper.charts import Span, timeline

app = group("Read the log, prove what is in it, export and verify evidence.")

Type = Annotated[
    EventType | None, typer.Option("--type", metavar="TYPE", help="Only of this type.")
]


class Kind(StrEnum):
    """What has a life in the log."""

    KEY = "key"
    TOKEN = "token"  # noqa: S105  (a word, not a secret)
    PERSON = "person"


Stream = Annotated[str | None, typer.Option(metavar="TEXT", help="Such as key:ID.")]
Actor = Annotated[str | None, typer.Option(metavar="TEXT", help="Such as person:alice.")]
ScopeText = Annotated[str | None, typer.Option(metavar="P/R/U", help="Only of this scope.")]
OutcomeIs = Annotated[Outcome | None, typer.Option("--outcome", help="Only with this outcome.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Such as 2026-01-31T12:00:00Z.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.")]


@command(app, "query", "keyvault audit query --actor person:alice --since 2026-11-01T00:00:00Z")
@command(app, "events", "keyvault audit events --type KEY.USED --actor system:dcc-1")
def events(
    kind: Type = None,
    stream: Stream = None,
    actor: Actor = None,
    scope: ScopeText = None,
    outcome: OutcomeIs = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    after: After = None,
    session: SessionDir = None,
) -> None:
    """List events in the order of the log."""
    which = {"type": kind, "stream": stream, "actor": actor, "scope": scope, "outcome": outcome}
    pages = {"since": since, "until": until, "limit": limit, "after": after}
    page = connect(session).get("/v1/audit/events", **which, **pages)
    answer(page, events_table(page["items"]))
    say_more(page)


def events_table(items: Iterable[Document]) -> Table:
    """Events as people read them: one line each."""
    columns = ("event", "time (UTC)", "type", "outcome", "who", "role", "about", "level", "reason")
    return table(columns, map(_event_row, items))


def _event_row(item: Document) -> tuple[object, ...]:
    header, payload = item["header"], item["payload"] or {}
    moment = datetime.fromtimestamp(header["t"] / 1000, UTC)
    time = f"{moment:%Y-%m-%d %H:%M:%S}"
    what = (header["ty"], header["out"], header["ac"], header["ro"], header["st"])
    return item["index"], time, *what, item["level"], payload.get("reason", "")


@command(
    app,
    "life",
    "keyvault audit life key ID",
    "keyvault audit life person alice --svg alice.svg",
)
def life(
    kind: Annotated[Kind, typer.Argument(help="key, token or person.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="Its id.")],
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw it here, too.")
    ] = None,
    limit: Limit = 50,
    after: After = None,
    session: SessionDir = None,
) -> None:
    """Tell what happened to a key, token or person, or was done by them, in plain words."""
    which = {"about": f"{kind}:{name}", "limit": limit, "after": after}
    page = connect(session).get("/v1/audit/life", **which)
    if svg is not None:
        svg.write_text(_picture(f"{kind} {name}", page["items"]), encoding="utf-8")
        say(f"drawn in {svg}")
    names = ("index", "at", "local", "words", "level")
    rows = [[one[name] for name in names] for one in page["items"]]
    heads = ("event", "time (UTC)", "in London", "what happened", "level")
    answer(page, table(heads, rows))
    say_more(page)


def _picture(title: str, items: Sequence[Document]) -> str:
    marks = [(f"{one['index']} {one['type']}", time_of(one["at"]), one["words"]) for one in items]
    return timeline(title, [Span(label, at, at, words[:60]) for label, at, words in marks])


@command(app, "checkpoint", "keyvault audit checkpoint")
def checkpoint(session: SessionDir = None) -> None:
    """Show the newest signed state of the log, checked against what was seen here before."""
    here = open_session(session)
    view = log.look(Server.of(here), here)
    log.keep(here, view)
    tree = view.seen
    say(f"{tree.size} events, signed by the log's key, none of what was seen here is gone")
    answer(
        {"origin": here.origin, "size": tree.size, "root": tree.root, "note": view.note}, view.note
    )


@command(app, "proof", "keyvault audit proof 42 --out 42.tlog-proof")
def proof(
    index: Annotated[int, typer.Argument(metavar="EVENT", min=0, help="Number of the event.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A .tlog-proof file.")] = None,
    session: SessionDir = None,
) -> None:
    """Prove that an event is in the log, under its newest checkpoint."""
    here = open_session(session)
    server = Server.of(here)
    view = log.look(server, here)
    size, root = view.checkpoint.size, view.checkpoint.root
    leaf = bytes.fromhex(server.get(f"/v1/audit/events/{index}")["leaf_hash"])
    answered = server.get("/v1/audit/proofs/inclusion", index=index, size=size)
    path = [bytes.fromhex(item) for item in answered["hashes"]]
    try:
        verify_inclusion(leaf, index, size, path, root)
    except ProofError as error:
        raise LogForkError(f"event {index} is not in the log: {error}") from error
    log.keep(here, view)
    text = tlog_proof(index, path, view.note.encode()).decode()
    if out is not None:
        out.write_text(text)
    level = answered["level"]
    say(f"event {index} is in the log of {size} events that its key has signed; it is {level}")
    facts = {"index": index, "size": size, "leaf_hash": leaf.hex(), "level": level}
    answer({**facts, "proof": text}, text)
