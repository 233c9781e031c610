"""The log: read it, prove things about it, export it as evidence, verify evidence anywhere."""

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.table import Table

from cli.command import command, group
from cli.errors import EvidenceError, LogForkError
from cli.output import STYLE, answer, say, say_more, table
from cli.remote import log
from cli.remote.client import After, Limit, Server, connect
from cli.state import SessionDir, open_session
from keyvault.domain.audit import EventType, Outcome
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError
from keyvault.domain.notes import tlog_proof
from keyvault.domain.tree import ProofError, verify_inclusion
from keyvault.evidence.built import verifier

app = group("Read the log, prove what is in it, export and verify evidence.")

Type = Annotated[
    EventType | None, typer.Option("--type", metavar="TYPE", help="Only of this type.")
]
Stream = Annotated[str | None, typer.Option(metavar="TEXT", help="Such as key:ID.")]
Actor = Annotated[str | None, typer.Option(metavar="TEXT", help="Such as person:alice.")]
ScopeText = Annotated[str | None, typer.Option(metavar="P/R/U", help="Only of this scope.")]
OutcomeIs = Annotated[Outcome | None, typer.Option("--outcome", help="Only with this outcome.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Such as 2026-01-31T12:00:00Z.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.")]


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


@command(
    app,
    "export",
    "keyvault audit export --out evidence.zip",
    "keyvault audit export --out evidence.zip --stream key:ID --since 2026-01-01T00:00:00Z",
)
def export(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the bundle.")],
    kind: Type = None,
    stream: Stream = None,
    actor: Actor = None,
    scope: ScopeText = None,
    outcome: OutcomeIs = None,
    since: Since = None,
    until: Until = None,
    previous_size: Annotated[
        int | None, typer.Option(min=1, help="Size of the log in the bundle before this one.")
    ] = None,
    session: SessionDir = None,
) -> None:
    """Export evidence that anybody can check without us: a ZIP with its own verifier.

    Filters choose the events; what it takes to check them is added.
    """
    which = {"type": kind, "stream": stream, "actor": actor, "scope": scope, "outcome": outcome}
    times = {"since": since, "until": until, "previous_size": previous_size}
    body = {name: value for name, value in {**which, **times}.items() if value is not None}
    data = connect(session).post_for_bytes("/v1/audit/exports", body)
    out.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    say(f"verify it anywhere: keyvault audit verify {out}, or python3 verify.py {out}")
    answer({"file": str(out), "bytes": len(data), "sha256": digest}, str(out))


@command(app, "verify", "keyvault audit verify evidence.zip --genesis HEX")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An evidence bundle.")],
    genesis: Annotated[
        str | None, typer.Option(metavar="HEX", help="SHA-256 of the genesis record you trust.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Remembers the log between bundles.")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your witness policy; its quorum is demanded."),
    ] = None,
) -> None:
    """Check a bundle with the stand-alone verifier; no server and no session are needed."""
    options = [f"--genesis-sha256={genesis}"] if genesis else []
    options += [f"--state={state}"] if state else []
    options += [f"--policy={policy}"] if policy else []
    options += ["--json"] if STYLE.json else []
    with TemporaryDirectory() as folder:
        program = Path(folder) / "verify.py"
        program.write_bytes(verifier())
        # -I: the verifier must not pick up modules from the folder it is called in.
        line = [sys.executable, "-I", str(program), *options, "--", str(file)]
        status = subprocess.run(line, check=False).returncode  # noqa: S603  (our own verifier)
    if status == 1:
        raise EvidenceError("the evidence is wrong", next_step="keep it, and tell the auditor")
    if status:
        raise InvalidInputError("the evidence could not be checked")


@command(app, "verifier", "keyvault audit verifier --out verify.py")
def hand_out(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the program.")],
) -> None:
    """Write the stand-alone verifier: one file that needs Python and openssl, and nothing else."""
    program = verifier()
    out.write_bytes(program)
    say("give it to auditors on another way than the bundles it is to check")
    answer({"file": str(out), "sha256": hashlib.sha256(program).hexdigest()}, str(out))
