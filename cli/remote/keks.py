"""The service's wrapping keys: see what rests under each, make the next one, move everything."""

from typing import Annotated

import typer

from cli.command import command, group
from cli.output import answer, facts, say, table
from cli.remote.asking import ask
from cli.remote.client import connect
from cli.remote.keys import Reason, Yes
from cli.state import SessionDir
from keyvault.domain.commands import RetireKek, RotateKek

app = group("Keys of the service under which others rest wrapped.")


@command(app, "list", "keyvault keks list")
def list_(session: SessionDir = None) -> None:
    """List the wrapping keys on the token, and how many keys rest under each."""
    found = connect(session).get("/v1/keks")
    rows = [
        (one["number"], "newest" if one["newest"] else "older", one["keys"])
        for one in found["items"]
    ]
    answer(found, table(("number", "which", "keys under it"), rows))


@command(app, "rotate", "keyvault keks rotate --reason 'yearly'")
def rotate(reason: Reason, session: SessionDir = None) -> None:
    """Ask for the next wrapping key. Once it is made: keyvault keks rewrap."""
    newest = connect(session).get("/v1/keks")["items"][-1]["number"]
    ask(session, RotateKek(newest + 1, reason))


@command(app, "rewrap", "keyvault keks rewrap")
def rewrap(session: SessionDir = None) -> None:
    """Bring every key under the newest wrapping key. If it is cut off, run it again."""
    server, done = connect(session), 0
    while True:
        run = server.post("/v1/keks/batches")
        done += run["done"]
        if not run["left"] or not run["done"]:
            break
        say(f"{done} done, {run['left']} left")
    told = {"done": done, "left": run["left"], "failed": run["failed"]}
    shown = [f"{one['key']}: {one['reason']}" for one in run["failed"]]
    answer(told, facts({**told, "failed": shown}.items()))


@command(app, "retire", "keyvault keks retire 1 --reason 'nothing rests under it any more'")
def retire(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="Of an older one.")],
    reason: Reason,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask to destroy an older wrapping key, under which nothing rests any more."""
    ask(session, RetireKek(number, reason), yes=yes)
