"""A finished card at a desk: a new PIN, by its holder or after two people's release; wiping."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.desk.relaying import relay
from cli.desk.station import ReaderName, Station, chosen_reader, progress, refused
from cli.errors import UsageError
from cli.output import answer, facts, say
from cli.passphrases import PassphraseFd, Secrets
from cli.remote.client import connect
from cli.state import SessionDir
from hsm.pcsc.apdu import Channel
from hsm.pcsc.holder import HeldCard
from hsm.pcsc.piv import PivCard, pin_block
from hsm.pcsc.piv_issue import change_pin
from hsm.pcsc.reader import PcscCard
from keyvault.domain.canonical import Document

app = group("")
TokenId = Annotated[UUID, typer.Argument(metavar="TOKEN", help="Token.")]


@command(app, "pin", "keyvault desk pin")
def pin(reader: ReaderName = None, passphrase_fd: PassphraseFd = None) -> None:
    """Change the PIN of your own card: the old one, then a new one. No server hears of it."""
    name, secrets = chosen_reader(reader), Secrets(passphrase_fd)
    with PcscCard(name) as card:
        piv = PivCard(Channel(card))
        say(f"{piv.tries_left()} PIN tries left")
        old = secrets.next(f"PIN of the card in {name}")
        change_pin(piv, old, _chosen(secrets))
    answer({"changed": name}, facts([("changed", f"the PIN of the card in {name}")]))


@command(app, "choose-pin", "keyvault desk choose-pin TOKEN")
def choose_pin(
    token: TokenId,
    reader: ReaderName = None,
    passphrase_fd: PassphraseFd = None,
    session: SessionDir = None,
) -> None:
    """Set your own PIN on a new token, then activate it.

    It was sent with a PIN that nobody knows. What you type goes to the card and nowhere else.
    """
    ended = _before_holder(token, {"service": "choose-pin"}, reader, passphrase_fd, session)
    say(str(ended["guidance"]))
    answer({"token": str(token)}, facts([("your own PIN is on", token)]))


@command(
    app,
    "unblock",
    "keyvault desk unblock TOKEN --release STATEMENT --station leeds-1",
    "keyvault desk unblock TOKEN --release STATEMENT",
)
def unblock(
    token: TokenId,
    release: Annotated[UUID, typer.Option(metavar="STATEMENT", help="What two people signed.")],
    station: Annotated[
        str, typer.Option(metavar="NAME", help="This desk; leave it out where its holder is.")
    ] = "",
    reader: ReaderName = None,
    passphrase_fd: PassphraseFd = None,
    session: SessionDir = None,
) -> None:
    """Give a blocked card a PIN that its holder types here.

    At a station the card gets another PUK, too. At its holder's own reader it gets that when it
    is at a station again.
    """
    asked: Document = {"service": "unblock", "statement": str(release)}
    ended = _before_holder(token, asked, reader, passphrase_fd, session, station)
    say(str(ended["guidance"]))
    answer({"unblocked": str(token)}, facts([("unblocked", token)]))


def _before_holder(
    token: UUID,
    asked: Document,
    reader: str | None,
    passphrase_fd: int | None,
    session: Path | None,
    station: str = "",
) -> Document:
    """Work through one insertion while the holder is here to type a PIN."""
    name, secrets = chosen_reader(reader), Secrets(passphrase_fd)

    def choose(new: bool) -> bytes:
        if new:
            say("the holder chooses a PIN now")
            return _chosen(secrets)
        return secrets.next(f"PIN of the card in {name}")

    path = f"/v1/issuing/tokens/{token}" if station else f"/v1/tokens/{token}"
    with PcscCard(name) as card:
        held = HeldCard(card, card.atr, choose)
        ended = relay(connect(session), path, station, held, progress, asked)
    refused(ended)
    return ended


def _serviced(service: str, token: UUID, station: str, reader: str | None, at: Path | None) -> None:
    with PcscCard(chosen_reader(reader)) as card:
        path = f"/v1/issuing/tokens/{token}"
        ended = relay(connect(at), path, station, card, progress, {"service": service})
    refused(ended)
    answer(ended, facts([("token", token), ("next", ended["guidance"])]))


@command(app, "rekey", "keyvault desk rekey TOKEN --station leeds-1")
def rekey(
    token: TokenId, station: Station, reader: ReaderName = None, session: SessionDir = None
) -> None:
    """Give a card the management key of the newest master."""
    _serviced("rekey", token, station, reader, session)


@command(app, "rotate-puk", "keyvault desk rotate-puk TOKEN --station leeds-1")
def rotate_puk(
    token: TokenId, station: Station, reader: ReaderName = None, session: SessionDir = None
) -> None:
    """Give a card another PUK, after it was unblocked from afar.

    These are the tokens of concern puk-spent.
    """
    _serviced("rotate-puk", token, station, reader, session)


@command(app, "wipe", "keyvault desk wipe TOKEN --station leeds-1")
def wipe(
    token: TokenId, station: Station, reader: ReaderName = None, session: SessionDir = None
) -> None:
    """Overwrite the keys of a returned card, then destroy it."""
    _serviced("wipe", token, station, reader, session)


def _chosen(secrets: Secrets) -> bytes:
    chosen = secrets.chosen("new PIN, 6 to 8 digits")
    try:
        pin_block(chosen)
    except Exception as error:
        raise UsageError(str(error), next_step="choose 6 to 8 digits") from error
    return chosen
