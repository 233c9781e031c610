"""Shares of backup keys: opened, confirmed and entered by their holders, each at their own desk."""

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.confirm import confirm, screen
from cli.desk.shares import (
    Opened,
    ShareCard,
    ShareFile,
    ShareKey,
    open_envelope,
    paper_of,
    state,
)
from cli.desk.signing import CredentialFile, OnCard, ReaderName, given, needed
from cli.errors import TransportKeyError, UsageError
from cli.output import answer, facts, grouped, say, table
from cli.passphrases import PassphraseFd, Secrets
from cli.remote import log
from cli.remote.client import Server, connect
from cli.state import Session, SessionDir, open_session
from keyvault import sealed, signatures, splitting
from keyvault.domain.backups import ENTRY_CONTEXT, ShareState, entry_statement
from keyvault.domain.canonical import Document
from keyvault.domain.errors import NotFoundError
from keyvault.domain.people import thumbprint

app = group("Shares of backup keys.")
COLUMNS = ("backup_key", "number", "holder", "state", "bag", "place", "confirmed_at", "fingerprint")

Key = Annotated[UUID, typer.Argument(metavar="KEY", help="Id of the backup key.")]
Bag = Annotated[str | None, typer.Option(metavar="NUMBER", help="Number of the tamper bag.")]
At = Annotated[str | None, typer.Option(metavar="TEXT", help="Where it lies.")]
Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why: it stays on record.")]
ShareKeyFile = Annotated[
    Path | None,
    typer.Option("--share-key", metavar="FILE", help="The key your share is sealed to."),
]
ShareKeyCard = Annotated[
    bool, typer.Option("--share-card", help="That key is in slot 9D of your PIV card.")
]


@command(app, "key", "keyvault shares key --out bob.share.key --credential bob.key")
def key(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the encrypted key goes.")],
    share_card: ShareKeyCard = False,
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    passphrase_fd: PassphraseFd = None,
    session: SessionDir = None,
) -> None:
    """Make the key that your shares will be sealed to, and sign that it is yours.

    FILE.json goes to whoever asks for the backup key; the key itself stays with you. With
    --share-card it is the one in slot 9D of your card, and no FILE is made but FILE.json.
    """
    here = open_session(session)
    person = log.look(Server.of(here), here).authority.person(here.person)
    secrets = Secrets(passphrase_fd)
    keys = [one.spki for one in person.deciding]
    signer = needed(given(credential, card, reader)).to_decide(secrets, keys)
    own = ShareCard(reader or "") if share_card else ShareFile(out)
    statement = state(out, own.spki(secrets), signer, here.person, here.origin)
    if not share_card:
        say(f"keep {out} and its passphrase to yourself")
    say(f"give {statement} to who asks for the backup key")
    told = "" if share_card else str(out)
    answer({"share_key": told, "statement": str(statement)}, str(statement))


@command(app, "list", "keyvault shares list --holder bob")
def list_shares(
    backup_key: Annotated[UUID | None, typer.Option(metavar="KEY", help="Of this key.")] = None,
    holder: Annotated[str | None, typer.Option(metavar="PERSON", help="Of this person.")] = None,
    session: SessionDir = None,
) -> None:
    """List shares: who holds them, where they lie, and when somebody last looked."""
    found = connect(session).get("/v1/shares", backup_key=backup_key, holder=holder)
    rows = ([one[name] or "" for name in COLUMNS] for one in found["items"])
    answer(found, table([name.replace("_", " ") for name in COLUMNS], rows))


@command(
    app, "open", "keyvault shares open KEY --share-key bob.share.key --paper share.pdf --bag 17"
)
def open_share(
    key: Key,
    share_key: ShareKeyFile = None,
    share_card: ShareKeyCard = False,
    reader: ReaderName = None,
    paper: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page (PDF) for the tamper bag.")
    ] = None,
    bag: Bag = None,
    passphrase_fd: PassphraseFd = None,
    session: SessionDir = None,
) -> None:
    """Open your own share: its words are shown on this screen, or go onto a page to be printed."""
    own = _share_key(share_key, reader, on_card=share_card)
    if own is None:
        raise UsageError("say what opens it", next_step="add --share-key FILE, or --share-card")
    opened = opened_share(session, key, own, Secrets(passphrase_fd))
    if paper is None:
        screen(f"share {opened.number} of {key}", opened.lines())
    else:
        paper.touch(mode=0o600)
        paper.write_bytes(paper_of(opened, bag or ""))
        say(f"print {paper}, put it into the bag, and destroy the file: shred -u {paper}")
    say(f"then: keyvault shares confirm {key} --bag NUMBER --place TEXT")
    told: Document = {"number": opened.number, "fingerprint": opened.fingerprint}
    answer(told, facts(told.items()))


def _share_key(file: Path | None, reader: str | None, *, on_card: bool) -> ShareKey | None:
    if file is not None and on_card:
        raise UsageError("give a share key's file or a card, not both")
    if on_card:
        return ShareCard(reader or "")
    return None if file is None else ShareFile(file)


def opened_share(session: Path | None, key: UUID, share_key: ShareKey, secrets: Secrets) -> Opened:
    here = open_session(session)
    server = Server.of(here)
    number = _own(server, key, here.person)
    found = server.post(f"/v1/backup-keys/{key}/shares/{number}/openings")
    return open_envelope(key, b64decode(found["envelope"]), share_key, secrets, here.person)


def _own(server: Server, key: UUID, person: str) -> int:
    for one in server.get("/v1/shares", backup_key=key, holder=person)["items"]:
        return int(one["number"])
    raise NotFoundError(f"{person} holds no share of {key}", next_step="keyvault shares list")


def _moved(session: Path | None, key: UUID, number: int | None, body: Document) -> None:
    here = open_session(session)
    server = Server.of(here)
    which = _own(server, key, here.person) if number is None else number
    told = {name: value for name, value in body.items() if value is not None}
    done = server.post(f"/v1/backup-keys/{key}/shares/{which}/moves", told)
    answer(done, facts((name.replace("_", " "), value) for name, value in done.items()))


Which = Annotated[
    int | None, typer.Option("--number", metavar="N", help="Which share, if not your own.")
]


@command(app, "confirm", "keyvault shares confirm KEY --bag 17 --place 'safe 2, Leeds'")
def confirm_share(key: Key, bag: Bag = None, place: At = None, session: SessionDir = None) -> None:
    """Say that you hold your share, where it lies and in which bag: now, and every quarter."""
    body: Document = {"state": ShareState.CONFIRMED, "bag": bag, "place": place}
    _moved(session, key, None, body)


@command(app, "returned", "keyvault shares returned KEY --number 2 --reason 'left the company'")
def returned(
    key: Key,
    number: Which = None,
    place: At = None,
    reason: Reason = None,
    session: SessionDir = None,
) -> None:
    """Record that a share was given back."""
    body: Document = {"state": ShareState.RETURNED, "place": place, "reason": reason}
    _moved(session, key, number, body)


@command(app, "lost", "keyvault shares lost KEY --number 2 --reason 'the bag is gone'")
def lost(key: Key, number: Which = None, reason: Reason = None, session: SessionDir = None) -> None:
    """Record at once that a share is lost, or that somebody else saw its words."""
    _moved(session, key, number, {"state": ShareState.LOST, "reason": reason})
    say("make a new backup key, and a backup under it: keyvault backups key --supersedes KEY")


@command(app, "destroyed", "keyvault shares destroyed KEY --number 2 --reason 'shredded by two'")
def destroyed(
    key: Key, number: Which = None, reason: Reason = None, session: SessionDir = None
) -> None:
    """Record that a share's paper was destroyed."""
    _moved(session, key, number, {"state": ShareState.DESTROYED, "reason": reason})


@command(
    app,
    "enter",
    "keyvault shares enter RESTORATION",
    "keyvault shares enter RESTORATION --share-key bob.share.key",
    "keyvault shares enter RESTORATION --share-card",
)
def enter(
    restoration: Annotated[UUID, typer.Argument(metavar="RESTORATION", help="Its id.")],
    share_key: ShareKeyFile = None,
    share_card: ShareKeyCard = False,
    reader: ReaderName = None,
    yes: Annotated[bool, typer.Option("--yes", help="The keys were compared already.")] = False,
    passphrase_fd: PassphraseFd = None,
    session: SessionDir = None,
) -> None:
    """Type your share's words, unseen: they leave this terminal sealed, for the gate alone.

    With --share-key or --share-card your envelope is opened instead.
    """
    server = connect(session)
    found = server.get(f"/v1/restorations/{restoration}")
    entry = b64decode(found["entry"])
    about = [("restoration", restoration), ("key of the gate", grouped(thumbprint(entry)))]
    about.append(_held_against(server, open_session(session), restoration, found))
    confirm("enter a share", about, yes=yes)
    own = _share_key(share_key, reader, on_card=share_card)
    words = _words(session, found, own, Secrets(passphrase_fd))
    part = splitting.part_of(words)
    box = sealed.seal(entry, words.encode(), ENTRY_CONTEXT + restoration.bytes)
    body = {"sealed": b64encode(box).decode()}
    done = server.post(f"/v1/restorations/{restoration}/shares", body)
    say(f"share {part.number} is in; {max(0, part.threshold - len(done['entered']))} more to come")
    answer(done, facts([("entered", done["entered"]), ("state", done["state"])]))


def _held_against(
    server: Server, here: Session, restoration: UUID, found: Document
) -> tuple[str, object]:
    """Hold the key that a share will be sealed to against the authority records.

    Raises `TransportKeyError` where they name a key of the gate, and that did not sign it.
    """
    view = log.look(server, here)
    log.keep(here, view)
    if not view.authority.spare:
        return "compare it", "by telephone, with the log of the second token's gate"
    said = entry_statement(here.origin, restoration, b64decode(found["entry"]))
    if not signatures.verify(view.authority.spare, b64decode(found["entry_signature"] or ""), said):
        raise TransportKeyError(
            "the key to seal your share to is not the second token's gate's",
            next_step="type nothing, keep what the server said, and call your officers",
        )
    return "who says so", "the second token's gate, by its own key, which your approvers signed"


def _words(
    session: Path | None, found: Document, share_key: ShareKey | None, secrets: Secrets
) -> str:
    if share_key is None:
        return " ".join(secrets.next("words of your share").decode().split())
    key = connect(session).get(f"/v1/backups/{found['backup']}")["backup_key"]
    return opened_share(session, UUID(key), share_key, secrets).words
