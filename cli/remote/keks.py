"""The service's wrapping keys: see what rests under each, make the next one, move everything."""

from typing import Annotated

import typer

from cli.command import command, group
from cli.errors import FindingsError
from cli.output import answer, facts, say, table
from cli.remote.asking import ask
from cli.remote.client import connect
from cli.remote.keys import Reason, Yes
from cli.state import SessionDir
from keyvault.domain.canonical import Document
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
    """Bring every key under the newest wrapping key. If it is cut off, run it again.

    A key that fails stays where it was and is named; the others go on without it.
    """
    server, done, after = connect(session), 0, None
    failed: list[Document] = []
    while True:
        run = server.post("/v1/keks/batches" + (f"?after={after}" if after else ""))
        done, failed, after = done + run["done"], failed + run["failed"], run["after"]
        if after is None:
            break
        say(f"{done} done, {run['left']} left")
    told = {"done": done, "left": run["left"], "failed": failed}
    shown = [f"{one['key']}: {one['reason']}" for one in failed]
    answer(told, facts({**told, "failed": shown}.items()))
    if failed:
        raise FindingsError(
            f"{len(failed)} keys still rest under an older wrapping key, which stays for them",
            next_step="docs/runbooks/rewrap-fails.md; then run this again",
        )


@command(app, "retire", "keyvault keks retire 1 --reason 'nothing rests under it any more'")
def retire(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="Of an older one.")],
    reason: Reason,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask to destroy an older wrapping key, under which nothing rests any more."""
    ask(session, RetireKek(number, reason), yes=yes)
