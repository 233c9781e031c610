"""A finished token at a desk: a new PIN, by its holder or after two people's release; wiping."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.confirm import spelled
from cli.desk.cards import LAST
from cli.desk.relaying import Card, relay
from cli.desk.station import Module, ReaderName, Station, chosen_reader, progress, refused
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
from hsm.usb import UsbReader
from hsm.usb_holder import HeldToken, UsbKeys
from keyvault.domain.canonical import Document

app = group("")
SHORTEST = 6  # characters of a USB token's PIN; its module may want more
TokenId = Annotated[UUID, typer.Argument(metavar="TOKEN", help="Token.")]


@command(
    app,
    "pin",
    "keyvault desk pin",
    "keyvault desk pin --module /usr/lib/softhsm/libsofthsm2.so",
)
def pin(
    reader: ReaderName = None, module: Module = None, passphrase_fd: PassphraseFd = None
) -> None:
    """Change the PIN of your own token: the old one, then a new one. No server hears of it."""
    secrets = Secrets(passphrase_fd)
    if module is None:
        where = _change_card(chosen_reader(reader), secrets)
    else:
        where = str(_change_token(module, secrets))
    what = "the card in" if module is None else "token"
    answer({"changed": where}, facts([("changed", f"the PIN of {what} {where}")]))


def _change_card(name: str, secrets: Secrets) -> str:
    with PcscCard(name) as card:
        piv = PivCard(Channel(card))
        say(f"{piv.tries_left()} PIN tries left")
        old = secrets.next(f"PIN of the card in {name}")
        change_pin(piv, old, _chosen(secrets))
    return name


def _change_token(module: Path, secrets: Secrets) -> UUID:
    keys = UsbKeys(str(module))
    if keys.last:
        say("another wrong PIN blocks the token")
        spelled(LAST, "find the PIN, or have the token unblocked")
    old = secrets.next("PIN of the USB token")
    held = HeldToken(str(module), keys.label, lambda _: b"")
    held.change_pin(old, _chosen_for_token(secrets))
    return UUID(hex=keys.label)


@command(
    app,
    "choose-pin",
    "keyvault desk choose-pin TOKEN",
    "keyvault desk choose-pin TOKEN --module /usr/lib/softhsm/libsofthsm2.so",
)
def choose_pin(
    token: TokenId,
    reader: ReaderName = None,
    module: Module = None,
    passphrase_fd: PassphraseFd = None,
    session: SessionDir = None,
) -> None:
    """Set your own PIN on a new token, then activate it.

    It was sent with a PIN that nobody knows. What you type goes to the token and nowhere else.
    """
    with _held(token, reader, module, Secrets(passphrase_fd)) as held:
        asked: Document = {"service": "choose-pin"}
        ended = relay(connect(session), f"/v1/tokens/{token}", "", held, progress, asked)
    refused(ended)
    say(str(ended["guidance"]))
    answer({"token": str(token)}, facts([("your own PIN is on", token)]))


@command(
    app,
    "unblock",
    "keyvault desk unblock TOKEN --release STATEMENT --station leeds-1",
    "keyvault desk unblock TOKEN --release STATEMENT",
    "keyvault desk unblock TOKEN --release STATEMENT --module /usr/lib/softhsm/libsofthsm2.so",
)
def unblock(
    token: TokenId,
    release: Annotated[UUID, typer.Option(metavar="STATEMENT", help="What two people signed.")],
    station: Annotated[
        str, typer.Option(metavar="NAME", help="This desk; leave it out where its holder is.")
    ] = "",
    reader: ReaderName = None,
    module: Module = None,
    passphrase_fd: PassphraseFd = None,
    session: SessionDir = None,
) -> None:
    """Give a blocked token a PIN that its holder types here.

    At a station it gets another PUK (or SO-PIN), too. At its holder's own reader it gets that
    when it is at a station again, unless the PUK went through a card's secure channel.
    """
    asked: Document = {"service": "unblock", "statement": str(release)}
    path = f"/v1/issuing/tokens/{token}" if station else f"/v1/tokens/{token}"
    with _held(token, reader, module, Secrets(passphrase_fd)) as held:
        ended = relay(connect(session), path, station, held, progress, asked)
    refused(ended)
    say(str(ended["guidance"]))
    answer({"unblocked": str(token)}, facts([("unblocked", token)]))


@contextmanager
def _held(token: UUID, reader: str | None, module: Path | None, secrets: Secrets) -> Iterator[Card]:
    """The token while its holder is here to type a PIN."""
    if module is not None:
        ask = _asking(secrets, "PIN of the USB token", _chosen_for_token)
        yield HeldToken(str(module), token.hex, ask)
        return
    name = chosen_reader(reader)
    with PcscCard(name) as card:
        yield HeldCard(card, card.atr, _asking(secrets, f"PIN of the card in {name}", _chosen))


def _asking(
    secrets: Secrets, prompt: str, chosen: Callable[[Secrets], bytes]
) -> Callable[[bool], bytes]:
    def choose(new: bool) -> bytes:
        if not new:
            return secrets.next(prompt)
        say("the holder chooses a PIN now")
        return chosen(secrets)

    return choose


@contextmanager
def _lent(reader: str | None, module: Path | None) -> Iterator[Card]:
    if module is not None:
        yield UsbReader(str(module))
        return
    with PcscCard(chosen_reader(reader)) as card:
        yield card


def _serviced(service: str, token: UUID, station: str, lent: Card, at: Path | None) -> None:
    path = f"/v1/issuing/tokens/{token}"
    ended = relay(connect(at), path, station, lent, progress, {"service": service})
    refused(ended)
    answer(ended, facts([("token", token), ("next", ended["guidance"])]))


@command(app, "rekey", "keyvault desk rekey TOKEN --station leeds-1")
def rekey(
    token: TokenId, station: Station, reader: ReaderName = None, session: SessionDir = None
) -> None:
    """Give a card the management key of the newest master."""
    with _lent(reader, None) as lent:
        _serviced("rekey", token, station, lent, session)


@command(
    app,
    "rotate-puk",
    "keyvault desk rotate-puk TOKEN --station leeds-1",
    "keyvault desk rotate-puk TOKEN --station leeds-1 --module /usr/lib/softhsm/libsofthsm2.so",
)
def rotate_puk(
    token: TokenId,
    station: Station,
    reader: ReaderName = None,
    module: Module = None,
    session: SessionDir = None,
) -> None:
    """Give a token another PUK, or SO-PIN, after it was unblocked from afar.

    These are the tokens of concern puk-spent.
    """
    with _lent(reader, module) as lent:
        _serviced("rotate-puk", token, station, lent, session)


@command(
    app,
    "wipe",
    "keyvault desk wipe TOKEN --station leeds-1",
    "keyvault desk wipe TOKEN --station leeds-1 --module /usr/lib/softhsm/libsofthsm2.so",
)
def wipe(
    token: TokenId,
    station: Station,
    reader: ReaderName = None,
    module: Module = None,
    session: SessionDir = None,
) -> None:
    """Overwrite the keys of a returned token, then destroy it."""
    with _lent(reader, module) as lent:
        _serviced("wipe", token, station, lent, session)


def _chosen(secrets: Secrets) -> bytes:
    chosen = secrets.chosen("new PIN, 6 to 8 digits")
    try:
        pin_block(chosen)
    except Exception as error:
        raise UsageError(str(error), next_step="choose 6 to 8 digits") from error
    return chosen


def _chosen_for_token(secrets: Secrets) -> bytes:
    chosen = secrets.chosen(f"new PIN, at least {SHORTEST} characters")
    if len(chosen) < SHORTEST:
        raise UsageError(
            f"a PIN has at least {SHORTEST} characters", next_step="choose a longer one"
        )
    return chosen
