"""`keyvault`: the command, its nouns, and the way out with the right exit status."""

import json
import os
import sys
from typing import NoReturn

import typer

from cli.command import group
from cli.desk import credentials
from cli.errors import UsageError, exit_status
from cli.local import database, doctor, init, serve, tokens
from cli.output import STYLE, printable, say
from cli.remote import approvals, audit, keys, login, people, service, systems, uses
from hsm.errors import HsmError
from keyvault.domain.errors import VaultError

app = typer.Typer(
    name="keyvault",
    help="Key material under dual control: order, approve, use, prove.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\b\nEvery command takes --json. Exit statuses are those of sysexits.h.",
)
KEYS = group("Order keys, see them, change their state and use them.")

for module in (init, serve, database, doctor, login, service):
    module.register(app)
for module in (keys, uses):
    module.register(KEYS)
app.add_typer(KEYS, name="keys")
for name, module in {
    "approvals": approvals,
    "people": people,
    "systems": systems,
    "audit": audit,
    "token": tokens,
    "credential": credentials,
}.items():
    app.add_typer(module.app, name=name)


def main() -> NoReturn:
    """Run one command line and exit with a status of sysexits.h."""
    try:
        status = app(standalone_mode=False, prog_name="keyvault")
    except (VaultError, HsmError) as error:
        status = _failed(error)
    except typer.TyperException as error:
        usage = UsageError(_plain(error.format_message()), next_step="keyvault --help")
        status = _failed(usage)
    except (typer.Abort, KeyboardInterrupt):
        status = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = os.EX_IOERR
    except OSError as error:
        say(_plain(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")))
        status = os.EX_OSERR
    sys.exit(status if isinstance(status, int) else os.EX_OK)


def _failed(error: VaultError | HsmError) -> int:
    if STYLE.json or "--json" in sys.argv:
        body = {"code": error.code, "message": str(error), "next_step": error.next_step}
        print(json.dumps({"error": body}), file=sys.stderr)
    else:
        say(_plain(str(error)))
        if error.next_step:
            say(f"next step: {_plain(error.next_step)}")
    return exit_status(error)


def _plain(text: str) -> str:
    """Lower case at the front, unless it is a name or an abbreviation, and no full stop."""
    text = printable(text.strip()).rstrip(".")
    first, _, rest = text.partition(" ")
    return f"{first.lower()} {rest}".rstrip() if first.istitle() and rest else text
