"""Standards: which edition is in force here, since when, and asking for changes."""

from typing import Annotated

import typer

from cli.command import command, group
from cli.confirm import confirm
from cli.output import answer, table
from cli.remote.asking import ask
from cli.remote.client import connect
from cli.remote.given import File, Yes, current, differences, options_of, wanted
from cli.state import SessionDir
from keyvault.domain.commands import SetStandard
from keyvault.domain.rules import Standard

app = group("See which standards are in force, and ask for changes.")

_COLUMNS = ("name", "edition", "in_force_from", "transition_until", "reference")
Day = Annotated[str | None, typer.Option(metavar="DAY", help="Such as 2026-01-31.")]


@command(app, "list", "keyvault standards list")
def list_(session: SessionDir = None) -> None:
    """List the editions of standards. Without a day it is announced, and not in force."""
    items = connect(session).get("/v1/rules")["standards"]
    rows = [[item[name] or "not set" for name in _COLUMNS] for item in items]
    names = ("standard", "edition", "in force from", "transition until", "reference")
    answer(items, table(names, rows))


@command(
    app,
    "set",
    "keyvault standards set 'BS 7858' 2019 --in-force-from 2026-01-31 --reference 'circular 12'",
)
def set_(
    standard: Annotated[str, typer.Argument(metavar="STANDARD", help="Such as 'BS 7858'.")],
    edition: Annotated[str, typer.Argument(metavar="EDITION", help="Such as 2019.")],
    file: File = None,
    in_force_from: Day = None,
    transition_until: Day = None,
    reference: Annotated[str | None, typer.Option(help="Who set the day, and where.")] = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask to record an edition, and the day that its body set, from which it is in force."""
    options = {**options_of(Standard, locals()), "name": standard}
    before = current(session, Standard, "standards", name=standard, edition=edition)
    after = wanted(Standard, "standard", file, options, before)
    confirm(f"ask to record {standard}:{edition}", differences(before, after), yes=yes)
    ask(session, SetStandard(after))
