"""Steps of tokens that people sign, one command each."""

from base64 import b64decode
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.desk.signing import CredentialFile, OnCard, ReaderName, given, needed
from cli.output import answer
from cli.passphrases import PassphraseFd
from cli.remote.client import connect
from cli.remote.given import Yes, bytes_of
from cli.remote.keys import Reason
from cli.remote.signing_steps import How, countersign, sign
from cli.remote.tokens import TokenId
from cli.state import SessionDir
from keyvault.domain import statements
from keyvault.domain.tokens import TokenKind

app = group("Steps of tokens that people sign.")

Second = Annotated[
    str, typer.Option("--with", metavar="PERSON", help="Who signs beside you, by `confirm`.")
]
Place = Annotated[str, typer.Option(metavar="TEXT", help="Where it is then.")]
Seal = Annotated[str, typer.Option(metavar="TEXT", help="Number of the seal or bag.")]
Identity = Annotated[
    str, typer.Option(metavar="TEXT", help="Where the proof of identity is kept; no copy of it.")
]
StatementId = Annotated[UUID, typer.Argument(metavar="STATEMENT", help="Id of the statement.")]
Serials = Annotated[
    Path, typer.Option("--serials", metavar="FILE", help="One serial number a line.")
]


@command(
    app,
    "take-in",
    "keyvault tokens take-in --model PIV-A --serials new.txt --batch B-7 --supplier Acme --seal S-1"
    " --place 'safe 1' --with wendy",
)
def take_in(
    model: Annotated[str, typer.Option(metavar="TEXT", help="Model, as its profile calls it.")],
    serials: Serials,
    batch: Annotated[str, typer.Option(metavar="TEXT", help="The delivery.")],
    supplier: Annotated[str, typer.Option(metavar="TEXT", help="Who delivered.")],
    seal: Seal,
    place: Place,
    second: Second,
    kind: Annotated[TokenKind, typer.Option(help="How it is spoken to.")] = TokenKind.PIV_CARD,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Take a delivery into stock, counted by two people.

    Both have looked at its seals.
    """
    said = statements.TakeIn(kind, model, batch, supplier, seal, place, _lines(serials))
    sign(said, How(session, passphrase_fd, yes), second=second)


@command(app, "nominate", "keyvault tokens nominate erin --purpose aro --reason 'new officer'")
def nominate(
    holder: Annotated[str, typer.Argument(metavar="PERSON", help="Who is to have a token.")],
    purpose: Annotated[str, typer.Option(metavar="TEXT", help="What for.")],
    reason: Reason,
    profile: Annotated[str, typer.Option(metavar="TEXT", help="What it gets.")] = "default",
    replaces: Annotated[UUID | None, typer.Option(metavar="TOKEN", help="Its next one.")] = None,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Name who is to have a token."""
    said = statements.Nominate(holder, purpose, profile, reason, replaces)
    sign(said, How(session, passphrase_fd, yes))


@command(app, "allocate", "keyvault tokens allocate TOKEN --nomination N --identity 'RA-17'")
def allocate(
    token: TokenId,
    nomination: Annotated[UUID, typer.Option(metavar="STATEMENT", help="Who was named.")],
    identity: Identity,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Give a token to the person who was named.

    You have seen their identity proven.
    """
    sign(statements.Allocate(nomination, identity), How(session, passphrase_fd, yes), token)


@command(app, "hand-over", "keyvault tokens hand-over TOKEN --to dan --place 'safe 2' --seal S-8")
def hand_over(
    token: TokenId,
    to: Annotated[str, typer.Option(metavar="PERSON", help="Who has it from then on.")],
    place: Place,
    seal: Seal,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Hand a token of the stock to somebody, who signs for it."""
    said = statements.HandOver(to, place, seal)
    sign(said, How(session, passphrase_fd, yes), token, to)


@command(
    app,
    "dispatch",
    "keyvault tokens dispatch TOKEN --seal B-44 --carrier ACME --place van --due 2026-11-30",
)
def dispatch(
    token: TokenId,
    seal: Seal,
    carrier: Annotated[str, typer.Option(metavar="TEXT", help="Who carries it, and its number.")],
    place: Place,
    due: Annotated[str, typer.Option(metavar="DAY", help="When it has to be there: 2026-11-30.")],
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Send a token off, sealed; its PIN goes another way."""
    sign(statements.Dispatch(seal, carrier, place, due), How(session, passphrase_fd, yes), token)


@command(
    app,
    "deliver",
    "keyvault tokens deliver TOKEN --with erin --identity RA-17 --seal B-44 --place Leeds",
)
def deliver(
    token: TokenId,
    second: Second,
    identity: Identity,
    seal: Seal,
    place: Place,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Hand a token to its holder; they sign the receipt.

    Face to face: their signature, by `confirm`, is the receipt.
    """
    said = statements.Deliver(identity, seal, place)
    sign(said, How(session, passphrase_fd, yes), token, second)


@command(app, "activate", "keyvault tokens activate TOKEN --with alice --card")
def activate(
    token: TokenId,
    second: Second,
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Begin to use your token: it signs that itself.

    The PIN is the one that you have set.
    """
    found = connect(session).get(f"/v1/tokens/{token}/keys")["items"]
    keys = [b64decode(one["spki"]) for one in found]
    how = How(session, passphrase_fd, yes, needed(given(credential, card, reader)))
    said = statements.Activate("I keep it and its PIN to myself and report its loss at once")
    sign(said, how, token, second, keys)


@command(
    app, "release", "keyvault tokens release TOKEN --with dan --identity RA-18 --reason forgot"
)
def release(
    token: TokenId,
    second: Second,
    identity: Identity,
    reason: Reason,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Let a blocked token be unblocked, once.

    Its holder was identified as strictly as at the first time.
    """
    sign(statements.Release(identity, reason), How(session, passphrase_fd, yes), token, second)


@command(app, "resume", "keyvault tokens resume TOKEN --with dan --inspection 'seal whole'")
def resume(
    token: TokenId,
    second: Second,
    inspection: Annotated[str, typer.Option(metavar="TEXT", help="What two people looked at.")],
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Let a suspended token that was found in time be used again."""
    sign(statements.Resume(inspection), How(session, passphrase_fd, yes), token, second)


@command(app, "give-back", "keyvault tokens give-back TOKEN --with erin --place 'safe 1' --seal S")
def give_back(
    token: TokenId,
    second: Second,
    place: Place,
    seal: Seal,
    condition: Annotated[str, typer.Option(metavar="TEXT", help="How it looks.")] = "whole",
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Take a token back whose time is over; both of you sign."""
    said = statements.GiveBack(place, seal, condition)
    sign(said, How(session, passphrase_fd, yes), token, second)


@command(app, "destroy", "keyvault tokens destroy TOKEN --with wendy --method cut --place Leeds")
def destroy(
    token: TokenId,
    second: Second,
    method: Annotated[str, typer.Option(metavar="TEXT", help="How it was done.")],
    place: Place,
    photo: Annotated[str | None, typer.Option(metavar="SHA256", help="Of a picture.")] = None,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Certify that a token was destroyed before a witness.

    The two signatures are the certificate.
    """
    said = statements.Destroy(method, place, photo)
    sign(said, How(session, passphrase_fd, yes), token, second)


@command(app, "count", "keyvault tokens count --place 'safe 2' --serials found.txt")
def count(
    place: Annotated[str, typer.Option(metavar="TEXT", help="What was counted.")],
    serials: Annotated[
        Path, typer.Option("--serials", metavar="FILE", help="`model serial` a line, of all found.")
    ],
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Count a place: write down all that is there.

    Nobody tells you what should be.
    """
    sign(statements.Count(place, _lines(serials) or None), How(session, passphrase_fd, yes))


@command(
    app,
    "confirm",
    "keyvault tokens confirm STATEMENT",
    "keyvault tokens confirm STATEMENT --card",
)
def confirm(
    statement: StatementId,
    credential: CredentialFile = None,
    card: OnCard = False,
    reader: ReaderName = None,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Sign beside the first person, such as a receipt.

    Read what they signed: it is shown before you sign.

    Without --card or --credential you sign with what you logged in with.
    """
    place = given(credential, card, reader)
    countersign(statement, How(session, passphrase_fd, yes, place))


@command(app, "refuse", "keyvault tokens refuse STATEMENT --reason 'the seal is broken'")
def refuse(statement: StatementId, reason: Reason, session: SessionDir = None) -> None:
    """End a statement that waits, instead of signing it.

    It waits for your signature, or for somebody's beside yours.
    """
    path = f"/v1/tokens/statements/{statement}/refusals"
    answer(connect(session).post(path, {"reason": reason}), "refused")


def _lines(path: Path) -> tuple[str, ...]:
    text = bytes_of(path).decode(errors="replace")
    return tuple(dict.fromkeys(filter(None, map(str.strip, text.splitlines()))))
