"""Duties: what people have to have read, one's own word on it, and asking for changes."""

from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command, group
from cli.confirm import confirm, screen
from cli.desk.signing import CredentialFile, OnCard, ReaderName, given
from cli.output import answer, facts, grouped, say, table
from cli.passphrases import PassphraseFd
from cli.remote.asking import alone, ask
from cli.remote.client import Server, connect
from cli.remote.deciding import Wish
from cli.remote.given import Yes, bytes_of, differences
from cli.state import SessionDir, open_session
from keyvault.domain.approvals import Decision
from keyvault.domain.canonical import Document
from keyvault.domain.commands import AcknowledgeDuty, SetDuty
from keyvault.domain.documents import read
from keyvault.domain.errors import InvalidInputError, NotFoundError
from keyvault.domain.people import Duty, Role

app = group("See the duties that people acknowledge, give your word, and ask for changes.")

Name = Annotated[str, typer.Argument(metavar="DUTY", help="Such as keeping-keys.")]
Text = Annotated[Path, typer.Option("--file", metavar="FILE", help="The text of the duty.")]


@command(app, "list", "keyvault duties list")
def list_(session: SessionDir = None) -> None:
    """List the duties in force, and which version of each you have acknowledged."""
    server = connect(session)
    items, mine = _duties(server), server.get("/v1/whoami")["acknowledged"]
    rows = [
        (one["name"], one["version"], mine.get(one["name"], "none"), one["since"], _roles(one))
        for one in items
    ]
    names = ("duty", "version", "acknowledged", "binds from", "who holds")
    answer(items, table(names, rows))


@command(app, "mine", "keyvault duties mine")
def mine(session: SessionDir = None) -> None:
    """List all that waits for you: signatures, reviews, keys that end, shares, drills."""
    found = connect(session).get("/v1/duties/mine")
    rows = [(one["due"] or "", one["kind"], one["what"], one["command"]) for one in found["items"]]
    answer(found, table(("due", "kind", "what", "how"), rows))
    if not rows:
        say("nothing waits for you")


@command(app, "show", "keyvault duties show keeping-keys")
def show(duty: Name, session: SessionDir = None) -> None:
    """Show a duty, and the SHA-256 by which its text is known."""
    item = _duty(connect(session), duty)
    pairs = [*item.items(), ("compare", grouped(item["sha256"]))]
    answer(item, facts(pairs))


@command(
    app,
    "acknowledge",
    "keyvault duties acknowledge keeping-keys --file keeping-keys.txt",
)
def acknowledge(
    duty: Name,
    file: Text,
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Read a duty and give your word on it. The text has to be the very one that is in force."""
    here = open_session(session)
    wanted = read(Duty, _duty(Server.of(here), duty), "a duty")
    text = bytes_of(file)
    if sha256(text).hexdigest() != wanted.sha256:
        raise InvalidInputError(
            f"{file} is not the text of {duty}, version {wanted.version}",
            next_step=f"ask a registrar for the text of SHA-256 {grouped(wanted.sha256)}",
        )
    screen(f"{duty}, version {wanted.version}", [("", _lines(text))])
    signing = Wish(Decision.APPROVE, "", given(credential, card, reader), passphrase_fd, yes)
    alone(session, AcknowledgeDuty(here.person, duty, wanted.version, wanted.sha256), signing)


@command(
    app,
    "set",
    "keyvault duties set keeping-keys --file keeping-keys-2.txt --since 2026-03-01",
)
def set_(
    duty: Name,
    file: Text,
    since: Annotated[str, typer.Option(metavar="DAY", help="Who has not by then cannot act.")],
    roles: Annotated[
        list[Role] | None, typer.Option("--role", help="Who has to; repeat. Default: as before.")
    ] = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask for a new duty, or the next version of one: everybody concerned acknowledges it anew."""
    items = [one for one in _duties(connect(session)) if one["name"] == duty]
    before = read(Duty, items[0], "a duty") if items else None
    holders = tuple(roles) if roles else before.roles if before else ()
    if not holders:
        raise InvalidInputError("a new duty needs --role, once for each role that it binds")
    text = bytes_of(file)
    version = before.version + 1 if before else 1
    after = Duty(duty, version, sha256(text).hexdigest(), holders, since)
    pairs = [*differences(before, after), ("text", _lines(text))]
    confirm(f"ask for version {version} of {duty}", pairs, yes=yes)
    ask(session, SetDuty(after))


def _duties(server: Server) -> list[Document]:
    found: list[Document] = server.get("/v1/rules")["duties"]
    return found


def _duty(server: Server, name: str) -> Document:
    for item in _duties(server):
        if item["name"] == name:
            return item
    raise NotFoundError(f"no duty is called {name[:63]}", next_step="keyvault duties list")


def _roles(duty: Document) -> str:
    return ", ".join(duty["roles"])


def _lines(text: bytes) -> list[str]:
    try:
        return text.decode().splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInputError("the text of a duty is plain text in UTF-8") from error
