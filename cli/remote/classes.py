"""Classes of keys: what follows from each, and asking for changes."""

from typing import Annotated

import typer

from cli.command import command, group
from cli.confirm import confirm
from cli.output import answer, table
from cli.remote.asking import ask
from cli.remote.client import connect
from cli.remote.given import File, Reason, Yes, current, differences, options_of, wanted
from cli.state import SessionDir
from hsm.types import VerifyPolicy
from keyvault.domain.commands import SetKeyClass
from keyvault.domain.keys import MAX_MODULE_LEVEL, KeyClass, Residence

app = group("See the classes of keys, and ask for changes.")

_COLUMNS = ("name", "residence", "verify", "extractable", "guarded", "module_level")
_NAMES = ("class", "lies", "verified", "may leave", "guarded", "module level", "kept for")
_MORE = ("classification", "location")
ClassName = Annotated[str, typer.Argument(metavar="CLASS", help="Name, such as critical.")]
Rests = Annotated[Residence | None, typer.Option(help="Where its keys lie.")]
Verified = Annotated[VerifyPolicy | None, typer.Option(help="Which signatures are.")]
Leaves = Annotated[
    bool | None, typer.Option("--extractable/--not-extractable", help="May leave, wrapped.")
]
Guarded = Annotated[
    bool | None, typer.Option("--guarded/--not-guarded", help="Used only as approved.")
]
Module = Annotated[
    int | None, typer.Option(min=0, max=MAX_MODULE_LEVEL, help="Least level of FIPS 140.")
]
Word = Annotated[str | None, typer.Option(metavar="TEXT", help="Such as SECRET.")]
Place = Annotated[str | None, typer.Option(metavar="TEXT", help="Where its module stands: UK.")]
Days = Annotated[int | None, typer.Option(min=0, metavar="DAYS", help="After destruction.")]


@command(app, "list", "keyvault classes list")
def list_(session: SessionDir = None) -> None:
    """List the classes of keys and what follows from each."""
    items = connect(session).get("/v1/rules")["key_classes"]
    rows = [
        (
            *(item[name] for name in _COLUMNS),
            f"{item['retention_days']} d",
            *(item[name] or "" for name in _MORE),
        )
        for item in items
    ]
    names = [*_NAMES, "classified", "place"]
    answer(items, table(names, rows))


@command(app, "set", "keyvault classes set critical --guarded --reason 'agreed on 2026-01-31'")
def set_(
    key_class: ClassName,
    reason: Reason,
    file: File = None,
    residence: Rests = None,
    verify: Verified = None,
    extractable: Leaves = None,
    guarded: Guarded = None,
    module_level: Module = None,
    retention_days: Days = None,
    classification: Word = None,
    location: Place = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask for a new class, or to change one for keys made from then on."""
    options = {**options_of(KeyClass, locals()), "name": key_class}
    before = current(session, KeyClass, "key_classes", name=key_class)
    after = wanted(KeyClass, "key class", file, options, before)
    confirm(f"ask to set class {key_class}", differences(before, after), yes=yes)
    ask(session, SetKeyClass(after, reason))
