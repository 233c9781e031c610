"""Tokens: see them, sign what is done with them, stop them."""

from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.command import command, group
from cli.output import answer, facts, say, say_more, table
from cli.remote.client import After, Limit, connect
from cli.remote.keys import Reason
from cli.state import SessionDir
from keyvault.domain import registers
from keyvault.domain.canonical import Document
from keyvault.domain.times import text_of
from keyvault.domain.tokens import Concern, TokenState

app = group("Credential tokens: from stock to destruction, and who has them.")

TokenId = Annotated[UUID, typer.Argument(metavar="TOKEN", help="Id of the token.")]
_PATH = "/v1/tokens"


@command(app, "list", "keyvault tokens list --state active")
def list_(
    state: Annotated[TokenState | None, typer.Option(help="Only those in this state.")] = None,
    holder: Annotated[str | None, typer.Option(metavar="PERSON", help="Of this holder.")] = None,
    serial: Annotated[str | None, typer.Option(metavar="TEXT", help="This very one.")] = None,
    limit: Limit = 50,
    after: After = None,
    session: SessionDir = None,
) -> None:
    """List tokens, newest first."""
    page = connect(session).get(
        _PATH, state=state, holder=holder, serial=serial, limit=limit, after=after
    )
    answer(page, _table(page["items"]))
    say_more(page)


def _table(items: list[Document]) -> object:
    names = ("id", "serial", "model", "state", "holder", "custodian", "place")
    return table(names, [[one[name] for name in names] for one in items])


@command(app, "show", "keyvault tokens show TOKEN")
def show(token: TokenId, session: SessionDir = None) -> None:
    """Show a token."""
    item = connect(session).get(f"{_PATH}/{token}")
    answer(item, facts(item.items()))


@command(app, "custody", "keyvault tokens custody TOKEN")
def custody(token: TokenId, session: SessionDir = None) -> None:
    """List who had a token from when on, the first first."""
    found = connect(session).get(f"{_PATH}/{token}/custody")
    names = ("number", "at", "giver", "taker", "place", "seal")
    answer(found, table(names, [[one[name] for name in names] for one in found["items"]]))


@command(app, "who-had", "keyvault tokens who-had TOKEN --at 2026-11-22T15:00:00Z")
def who_had(
    token: TokenId,
    at: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z"], help="When; default: now.")
    ] = None,
    session: SessionDir = None,
) -> None:
    """Say who had a token at a time: one name."""
    found = connect(session).get(f"{_PATH}/{token}/holder", at=text_of(at) if at else None)
    answer(found, facts(found.items()))


@command(app, "signed", "keyvault tokens signed TOKEN")
def signed(token: TokenId, session: SessionDir = None) -> None:
    """List everything that people signed about a token."""
    _statements(connect(session).get(f"{_PATH}/{token}/statements"))


@command(app, "waiting", "keyvault tokens waiting")
def waiting(session: SessionDir = None) -> None:
    """List what waits for a second signature."""
    _statements(connect(session).get(f"{_PATH}/statements"))


def _statements(found: Document) -> None:
    rows = []
    for one in found["items"]:
        said = one["statement"]
        rows.append(
            (
                *(said[name] for name in ("id", "at", "step", "token", "person", "second")),
                one["state"],
            )
        )
    heads = ("statement", "at", "step", "token", "by", "beside them", "state")
    answer(found, table(heads, rows))


@command(
    app,
    "concerns",
    "keyvault tokens concerns --dormant-days 30",
    "keyvault tokens concerns --only ending --csv ending.csv",
)
def concerns(
    only: Annotated[Concern | None, typer.Option(help="Only those for this reason.")] = None,
    ending_days: Annotated[int, typer.Option(metavar="DAYS", help="That end so soon.")] = 90,
    dormant_days: Annotated[int, typer.Option(metavar="DAYS", help="Not used for so long.")] = 90,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as CSV, too.")] = None,
    session: SessionDir = None,
) -> None:
    """List what ends soon, sleeps, was not activated, or is late.

    Used is a token when its key logs in, decides, or signs a statement or a file here. What it
    does elsewhere is not seen here.
    """
    days = {"ending_days": ending_days, "dormant_days": dormant_days}
    items = connect(session).get(f"{_PATH}/concerns", **days)["items"]
    found = [one for one in items if only in (None, one["concern"])]
    rows = [[one["concern"], *(one["token"][name] for name in _CONCERNED)] for one in found]
    if csv is not None:
        told = [{"concern": one["concern"], **one["token"]} for one in found]
        csv.write_bytes(b"".join(registers.as_csv(_WRITTEN, [told])))
        say(f"the report is in {csv}")
    answer({"items": found}, table(("concern", "id", "serial", "holder", "used", "ends"), rows))


_CONCERNED = ("id", "serial", "holder", "used_at", "expires_at")
_WRITTEN = (
    *("concern", "id", "serial", "model", "purpose", "state", "holder", "custodian", "place"),
    *("used_at", "expires_at", "due_at"),
)


@command(app, "suspend", "keyvault tokens suspend TOKEN --reason 'mislaid at home'")
def suspend(token: TokenId, reason: Reason, session: SessionDir = None) -> None:
    """Stop a token at once, until it is found and inspected.

    Holders may stop their own.
    """
    _stop(session, token, "suspend", reason)


@command(app, "lost", "keyvault tokens lost TOKEN --reason 'bag stolen on the train'")
def lost(
    token: TokenId,
    reason: Reason,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z"], help="Since when it is missing."),
    ] = None,
    session: SessionDir = None,
) -> None:
    """Report a token as lost or stolen: anybody may, at any hour.

    It opens nothing from that moment on, and its certificates are revoked.
    """
    _stop(session, token, "report-lost", reason, since)


@command(app, "revoke", "keyvault tokens revoke TOKEN --reason 'left the company'")
def revoke(token: TokenId, reason: Reason, session: SessionDir = None) -> None:
    """End a token and its certificates."""
    _stop(session, token, "revoke", reason)


@command(app, "pin-blocked", "keyvault tokens pin-blocked TOKEN --reason 'three wrong PINs'")
def pin_blocked(token: TokenId, reason: Reason, session: SessionDir = None) -> None:
    """Note that a token's PIN is blocked."""
    _stop(session, token, "block-pin", reason)


_NEXT = {
    "suspend": "found within 7 days, two people look at it: keyvault tokens resume {token}",
    "report-lost": "a registrar ends it and has the next one named: keyvault tokens revoke {token}",
    "revoke": "whoever has it brings it back: keyvault tokens give-back {token}",
    "block-pin": "two people let it be unblocked: keyvault tokens release {token}",
}


def _stop(
    session: SessionDir, token: UUID, step: str, reason: str, since: datetime | None = None
) -> None:
    body: Document = {"step": step, "reason": reason}
    if since is not None:
        body["missing_since"] = text_of(since)
    done = connect(session).post(f"{_PATH}/{token}/stops", body)
    say(f"the token is {done['state']} from now on")
    say(f"next: {_NEXT[step].format(token=token)}")
    answer(done, facts(done.items()))


@command(app, "counts", "keyvault tokens counts")
def counts(session: SessionDir = None) -> None:
    """List blind counts of the stock and what differed. Not for who counts."""
    found = connect(session).get(f"{_PATH}/counts")
    rows = [
        (
            one["id"], one["at"], one["place"], one["counter"],
            ", ".join(one["missing"]), ", ".join(one["surplus"]), one["finding"],
        )
        for one in found["items"]
    ]  # fmt: skip
    names = ("count", "at", "place", "by", "missing", "too much", "finding")
    answer(found, table(names, rows))


@command(app, "settle-count", "keyvault tokens settle-count COUNT --finding 'it lay in safe 2'")
def settle_count(
    count: Annotated[UUID, typer.Argument(metavar="COUNT", help="Id of the count.")],
    finding: Annotated[str, typer.Option(help="How it came about, and what was done.")],
    session: SessionDir = None,
) -> None:
    """Explain a difference that a count found, and close it."""
    body = {"finding": finding}
    answer(connect(session).post(f"{_PATH}/counts/{count}/findings", body), "settled")
