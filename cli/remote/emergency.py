"""Emergencies: seal a code beforehand, and stop a key with it when your token is not there."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.output import answer, facts, say, say_more, table
from cli.passphrases import PassphraseFd, Secrets
from cli.remote.client import After, CaFile, Limit, Server, ServerUrl, connect
from cli.remote.keys import KeyId, Reason
from cli.remote.tokens import TokenId
from cli.state import SessionDir, open_session, write_private
from keyvault.domain.canonical import Document
from keyvault.domain.emergency import MAX_DAYS, Stop
from keyvault.domain.times import text_of, time_of
from keyvault.paper import Paper

app = group("Stop a key without your token, by a code that was sealed beforehand.")

_PATH = "/v1/emergency-codes"


@command(app, "seal", "keyvault emergency seal --out envelope.pdf")
def seal(
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .pdf to print; else it is shown.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=MAX_DAYS, help="How long it is good.")] = 180,
    session: SessionDir = None,
) -> None:
    """Make a code for yourself that stops one key, once. Print it, seal it, keep no copy."""
    here = open_session(session)
    made = connect(session).post(_PATH, {"days": days})
    told = {name: made[name] for name in ("id", "until")}
    if out is None:
        answer(made, facts([*told.items(), ("code", made["code"])]))
    else:
        write_private(out, _envelope(made, here.person, here.server).pdf())
        answer({**told, "file": str(out)}, facts([*told.items(), ("file", out)]))
        say("print it, seal it, and delete the file")


@command(app, "list", "keyvault emergency list")
def list_(limit: Limit = 50, after: After = None, session: SessionDir = None) -> None:
    """List your own codes and what came of each."""
    page = connect(session).get(_PATH, limit=limit, after=after)
    rows = [
        (one["id"], one["made_at"], one["until"], one["use"] or "sealed") for one in page["items"]
    ]
    answer(page, table(("code", "made", "good until", "use"), rows))
    say_more(page)


@command(app, "withdraw", "keyvault emergency withdraw CODE")
def withdraw(
    code: Annotated[UUID, typer.Argument(metavar="CODE", help="Its id, not the code itself.")],
    session: SessionDir = None,
) -> None:
    """End a code whose envelope was opened, or is lost."""
    connect(session).delete(f"{_PATH}/{code}")
    answer({"id": str(code), "use": "withdrawn"}, "withdrawn")


@command(
    app,
    "suspend",
    "keyvault emergency suspend KEY --server https://localhost:8443 --ca server.pem --reason lost",
)
def suspend(
    key: KeyId,
    server: ServerUrl,
    ca: CaFile,
    reason: Reason,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Suspend a key with a sealed code, which is asked for, and without a session."""
    _stop(Server(server, ca), key, Stop.SUSPEND, reason, passphrase_fd)


@command(
    app,
    "compromise",
    "keyvault emergency compromise KEY --server https://localhost:8443 --ca server.pem"
    " --reason 'card and PIN were stolen' --known-at 2026-11-22T15:00:00Z",
)
def compromise(
    key: KeyId,
    server: ServerUrl,
    ca: CaFile,
    reason: Reason,
    known_at: Annotated[str | None, typer.Option(metavar="TIME", help="Since when.")] = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Declare a key compromised with a sealed code. It cannot be undone."""
    since = {"known_at": text_of(time_of(known_at))} if known_at else {}
    _stop(Server(server, ca), key, Stop.COMPROMISE, reason, passphrase_fd, **since)


@command(
    app,
    "lost-token",
    "keyvault emergency lost-token TOKEN --server https://localhost:8443 --ca server.pem"
    " --reason 'bag stolen'",
)
def lost_token(
    token: TokenId,
    server: ServerUrl,
    ca: CaFile,
    reason: Reason,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Report a token as lost or stolen with a sealed code, and without a session."""
    code = Secrets(passphrase_fd).next("sealed code").decode(errors="replace").strip()
    body = {"code": code, "token": str(token), "reason": reason}
    done = Server(server, ca).post("/v1/emergencies/tokens", body)
    say("the token opens nothing from now on, and the code is used up")
    answer(done, facts(done.items()))


def _stop(
    door: Server, key: UUID, act: Stop, reason: str, descriptor: int | None, **more: str
) -> None:
    code = Secrets(descriptor).next("sealed code").decode(errors="replace").strip()
    body = {"code": code, "key": str(key), "act": act, "reason": reason, **more}
    done = door.post("/v1/emergencies", body)
    say("the code is used up: seal a new one when you have your token again")
    answer(done, facts(done.items()))


def _envelope(made: Document, person: str, server: str) -> Paper:
    paper = Paper("Sealed code for emergencies", datetime.now(UTC), subtitle=f"of {person}")
    paper.text(
        "It stops one key, once, as this person, and does nothing else. Keep it sealed, apart from "
        "the person's token. If the seal is broken: keyvault emergency withdraw."
    )
    paper.facts([("id", made["id"]), ("good until", made["until"]), ("server", server)])
    paper.heading("Code", 2).text(made["code"], fixed=True)
    paper.heading("How", 2).text(
        "keyvault emergency suspend KEY --server URL --ca FILE --reason TEXT", fixed=True
    )
    return paper.blank("Seal number, place, date, opened by")
