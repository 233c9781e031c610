"""An outside witness, on a machine of its own: make it, serve it, or sign files carried to it."""

import logging
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command, group
from cli.local.layout import write_new
from cli.output import answer, facts, say, table
from cli.passphrases import PassphraseFd, Secrets
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError, NotFoundError
from keyvault.domain.notes import NoteError, VerifierKey
from keyvault.domain.witnessing import MAX_REQUEST_SIZE
from keyvault.witness.key import WitnessKey, is_encrypted
from keyvault.witness.server import WitnessServer
from keyvault.witness.service import Witness
from keyvault.witness.state import State

app = group("Be an outside witness of a log, or ask one.")

KEY_FILE = "witness.key"
Folder = Annotated[
    Path, typer.Option(metavar="DIR", envvar="KEYVAULT_WITNESS", help="The witness's own folder.")
]
DEFAULT_FOLDER = Path("witness")


@command(
    app,
    "init",
    "keyvault witness init witness.example/w1 --log LOG-VKEY --folder witness",
)
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name like a URL without https.")],
    folder: Folder = DEFAULT_FOLDER,
    log: Annotated[
        list[str] | None,
        typer.Option(metavar="VKEY", help="Verifier key of a log to watch; may be repeated."),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="No passphrase: the key is protected by 0600 alone.")
    ] = False,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Make a witness: its key, and a state that has seen nothing yet."""
    keys = [_verifier(line) for line in log or []]
    _check_name(name)
    secret = None if plain else Secrets(passphrase_fd).chosen("new passphrase for the witness")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = WitnessKey.create(folder / KEY_FILE, name, secret)
    state = State.create(folder, key.verifier)
    for watched in keys:
        state.trust(watched)
    say("give this line to whoever runs the log and to every auditor, for their policies")
    answer({"vkey": key.verifier.vkey, "folder": str(folder)}, key.verifier.vkey)


@command(app, "trust", "keyvault witness trust LOG-VKEY --folder witness")
def trust(
    vkey: Annotated[str, typer.Argument(metavar="VKEY", help="A verifier key of the log.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Watch one more log, or take one more key of a log; a running witness knows it at once."""
    memory = _state(folder).trust(_verifier(vkey))
    answer({"logs": [log.origin for log in memory.logs]}, f"{len(memory.logs)} logs are watched")


@command(app, "show", "keyvault witness show --folder witness")
def show(folder: Folder = DEFAULT_FOLDER) -> None:
    """Show the witness's verifier key, and what it has seen of each log."""
    memory = _state(folder).read()
    logs: list[Document] = [
        {
            "origin": log.origin,
            "size": log.known.size if log.known else 0,
            "root": log.known.root.hex() if log.known else "",
            "cosigned_at": f"{datetime.fromtimestamp(log.cosigned_at, UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        for log in memory.logs
    ]
    say(f"witness {memory.witness.vkey}")
    rows = ([*log.values()] for log in logs)
    answer({"vkey": memory.witness.vkey, "logs": logs}, table([*_COLUMNS], rows))


_COLUMNS = ("origin", "size", "root", "cosigned (UTC)")


@command(app, "serve", "keyvault witness serve --folder witness --listen 127.0.0.1:7380")
def serve(
    folder: Folder = DEFAULT_FOLDER,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where.")] = "127.0.0.1:7380",
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Cosign over HTTP until SIGTERM; one line on stdout says that it is ready."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidInputError("--listen is of the form HOST:PORT")
    logging.basicConfig(level=logging.INFO, format="witness: %(message)s")
    server = WitnessServer((host, int(port)), _opened(folder, passphrase_fd))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    url = f"http://{host}:{server.server_address[1]}"
    answer({"ready": True, "url": url}, f"ready {url}")
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        server.server_close()


@command(app, "sign", "keyvault witness sign --in checkpoint-request --out cosignature")
def sign(
    request: Annotated[Path, typer.Option("--in", metavar="FILE", help="What was carried here.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="What is to be carried back.")],
    folder: Folder = DEFAULT_FOLDER,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Cosign a request that came as a file, with the same checks, for machines without network."""
    with request.open("rb") as file:
        body = file.read(MAX_REQUEST_SIZE + 1)
    if out.exists():
        raise InvalidInputError(f"{out} exists already and is left alone")
    witness = _opened(folder, passphrase_fd)
    line = witness.add_checkpoint(body)
    write_new(out, line.encode())
    answer({"cosignature": str(out)}, facts([("carry back", out)]))


def _state(folder: Path) -> State:
    """A folder that was named wrongly is no witness that has lost its memory."""
    if not (folder / KEY_FILE).exists():
        raise NotFoundError(
            f"no witness lives in {folder}",
            next_step="name its folder with --folder, or make one: keyvault witness init",
        )
    return State(folder)


def _opened(folder: Path, passphrase_fd: int | None) -> Witness:
    state = _state(folder)
    name, file = state.read().witness.name, folder / KEY_FILE
    secret = (
        Secrets(passphrase_fd).next("passphrase of the witness") if is_encrypted(file) else None
    )
    return Witness(state, WitnessKey.open(file, name, secret))


def _verifier(line: str) -> VerifierKey:
    try:
        return VerifierKey.parse(line)
    except NoteError as error:
        raise InvalidInputError(f"not a verifier key: {error}") from error


def _check_name(name: str) -> None:
    try:
        VerifierKey(name, 1, bytes(32))
    except NoteError as error:
        raise InvalidInputError(f"not a witness's name: {error}") from error
