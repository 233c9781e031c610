"""Asset registers, written into files."""

from pathlib import Path
from typing import Annotated

import typer

from cli.command import command, group
from cli.output import answer
from cli.remote.client import connect
from cli.state import SessionDir
from keyvault.domain.registers import Form, Register

app = group("Registers of assets: keys, modules, people, certificates.")


@command(
    app,
    "export",
    "keyvault registers export keys --out keys.csv",
    "keyvault registers export modules --out modules.json",
)
def export(
    register: Annotated[Register, typer.Argument(metavar="REGISTER", help="Which one.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="A .csv or .json file.")],
    session: SessionDir = None,
) -> None:
    """Write a register into a file, as long as it may be. The log says that you did."""
    form = Form.JSON if out.suffix == ".json" else Form.CSV
    size = connect(session).download(f"/v1/registers/{register}", out, format=form)
    answer({"file": str(out), "bytes": size}, f"{out}, {size} bytes")
