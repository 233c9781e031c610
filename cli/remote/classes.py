"""Classes of keys: what follows from each, and asking for changes."""

from typing import Annotated

import typer

from cli.command import command, group
from cli.confirm import confirm
from cli.output import answer, table
from cli.remote.asking import ask
from cli.remote.client import connect
from cli.remote.given import File, Reason, Yes, differences, wanted
from cli.state import SessionDir
from hsm.types import VerifyPolicy
from keyvault.domain.commands import SetKeyClass
from keyvault.domain.documents import read
from keyvault.domain.keys import MAX_MODULE_LEVEL, KeyClass, Residence

app = group("See the classes of keys, and ask for changes.")

_COLUMNS = ("name", "residence", "verify", "extractable", "guarded", "module_level")
Flag = bool | None


@command(app, "list", "keyvault classes list")
def list_(session: SessionDir = None) -> None:
    """List the classes of keys and what follows from each."""
    items = connect(session).get("/v1/rules")["key_classes"]
    rows = [(*(item[name] for name in _COLUMNS), f"{item['retention_days']} d") for item in items]
    names = ("class", "lies", "verified", "may leave", "guarded", "module level", "kept for")
    answer(items, table(names, rows))


@command(app, "set", "keyvault classes set critical --guarded --reason 'agreed on 2026-01-31'")
def set_(
    key_class: Annotated[str, typer.Argument(metavar="CLASS", help="Name, such as critical.")],
    reason: Reason,
    file: File = None,
    residence: Annotated[Residence | None, typer.Option(help="Where its keys lie.")] = None,
    verify: Annotated[VerifyPolicy | None, typer.Option(help="Which signatures.")] = None,
    extractable: Annotated[
        Flag, typer.Option("--extractable/--not-extractable", help="May leave, wrapped.")
    ] = None,
    guarded: Annotated[
        Flag, typer.Option("--guarded/--not-guarded", help="Used only as approved.")
    ] = None,
    module_level: Annotated[
        int | None, typer.Option(min=0, max=MAX_MODULE_LEVEL, help="Least level of FIPS 140.")
    ] = None,
    retention_days: Annotated[int | None, typer.Option(min=0, help="After destruction.")] = None,
    yes: Yes = False,
    session: SessionDir = None,
) -> None:
    """Ask for a new class, or to change one for keys made from then on."""
    items = connect(session).get("/v1/rules")["key_classes"]
    found = next((item for item in items if item["name"] == key_class), None)
    before = read(KeyClass, found, "a key class") if found else None
    options = {
        "name": key_class,
        "residence": residence,
        "verify": verify,
        "extractable": extractable,
        "guarded": guarded,
        "module_level": module_level,
        "retention_days": retention_days,
    }
    after = wanted(KeyClass, "key class", file, options, before)
    confirm(f"ask to set class {key_class}", differences(before, after), yes=yes)
    ask(session, SetKeyClass(after, reason))
