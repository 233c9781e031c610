"""Being told of requests as they come, without asking for them one by one."""

import time
from typing import Annotated

import typer

from cli.command import command, group
from cli.errors import ServerUnreachableError
from cli.output import answer_line, say
from cli.remote.client import Server
from cli.remote.queue import waiting
from cli.state import SessionDir, open_session

app = group("Watch for requests.")

SECONDS = 5  # between two looks: a person reads no faster, and a server hardly notices


@command(app, "watch", "keyvault approvals watch", "keyvault approvals watch --once --json")
def watch(
    every: Annotated[
        int, typer.Option(metavar="SECONDS", min=1, max=3600, help="Pause between two looks.")
    ] = SECONDS,
    once: Annotated[bool, typer.Option("--once", help="Look once and end; for scripts.")] = False,
    session: SessionDir = None,
) -> None:
    """Tell of each request that waits for signatures, once; ends with Ctrl-C.

    With --json each is one line. A server that is down meanwhile is waited for.
    """
    server, told = Server.of(open_session(session)), set[str]()
    _tell(server, told)
    while not once:
        time.sleep(every)
        try:
            _tell(server, told)
        except ServerUnreachableError as error:
            say(f"{error}; still watching")


def _tell(server: Server, told: set[str]) -> None:
    me = server.get("/v1/whoami")
    for one in waiting(server, me):
        line = one.document()
        if line["request"] not in told:
            told.add(line["request"])
            answer_line(line, one.sentence())
