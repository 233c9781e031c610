"""A time stamping authority of the site's own, for tests and for sites without a network."""

import logging
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command, group
from cli.output import answer, say
from keyvault.domain.errors import InvalidInputError
from keyvault.timestamps import local

app = group("Be a time stamping authority on a closed site; its time is not independent.")

Folder = Annotated[
    Path, typer.Option(metavar="DIR", envvar="KEYVAULT_TSA", help="The authority's own folder.")
]
DEFAULT_FOLDER = Path("tsa")
NAME_LIMIT = 32  # characters: a common name of X.509 has 64, and the label needs its part


@command(app, "init", "keyvault tsa init 'Site 1' --folder tsa")
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What its certificate says.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Make an authority: a key of its own, and a certificate that says that it is local."""
    if not name.isprintable() or not 0 < len(name) <= NAME_LIMIT:
        raise InvalidInputError("a name has 1 to 32 printable characters")
    ca = local.create(folder, name)
    say("its tokens are labelled: " + local.LABEL)
    say("name its root certificate as `ca` of [[time.authorities]], and give it to auditors")
    answer({"folder": str(folder), "ca": str(ca)}, str(ca))


@command(app, "serve", "keyvault tsa serve --folder tsa --listen 127.0.0.1:7381")
def serve(
    folder: Folder = DEFAULT_FOLDER,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where.")] = "127.0.0.1:7381",
) -> None:
    """Stamp over HTTP until SIGTERM; one line on stdout says that it is ready."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidInputError("--listen is of the form HOST:PORT")
    logging.basicConfig(level=logging.INFO, format="tsa: %(message)s")
    server = local.LocalAuthority((host, int(port)), folder)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    url = f"http://{host}:{server.server_address[1]}/"
    answer({"ready": True, "url": url}, f"ready {url}")
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        server.server_close()
