"""`keyvault`: the command, its nouns, and the way out with the right exit status."""

import json
import os
import sys
from importlib import import_module
from typing import NoReturn

import typer

from cli.errors import INTERRUPTED, UsageError, exit_status
from cli.output import STYLE, printable, say
from hsm.errors import HsmError
from keyvault.domain.errors import VaultError

# Every first word with the modules that serve it. Only those are imported that the call needs:
# the whole house takes a second to load, and most calls want a small part of it.
VERBS = {
    "init": "cli.local.init",
    "serve": "cli.local.serve",
    "doctor": "cli.local.doctor",
    "migrate": "cli.local.database",
    "reconcile": "cli.local.database",
    "login": "cli.remote.login",
    "logout": "cli.remote.login",
    "whoami": "cli.remote.login",
    "recover": "cli.local.recovery",
    "health": "cli.remote.service",
    "random": "cli.remote.service",
}
NOUNS = {
    "keys": (
        "cli.remote.keys",
        "cli.remote.uses",
        "cli.remote.agreement",
        "cli.remote.custody",
        "cli.remote.compromise",
        "cli.remote.destruction",
        "cli.remote.life",
        "cli.remote.components",
        "cli.remote.envelopes",
    ),
    "backups": ("cli.remote.backups", "cli.remote.restoring"),
    "shares": ("cli.remote.shares",),
    "counters": ("cli.remote.counters",),
    "ceremony": ("cli.local.ceremonies", "cli.remote.ceremonies"),
    "approvals": ("cli.remote.approvals", "cli.remote.watching"),
    "certificates": ("cli.remote.certificates", "cli.remote.certificate_files"),
    "emergency": ("cli.remote.emergency",),
    "keks": ("cli.remote.keks",),
    "reconciliations": ("cli.remote.reconciliations",),
    "registers": ("cli.remote.registers",),
    "people": ("cli.remote.people",),
    "systems": ("cli.remote.systems",),
    "rules": ("cli.remote.rules",),
    "classes": ("cli.remote.classes",),
    "duties": ("cli.remote.duties",),
    "standards": ("cli.remote.standards",),
    "audit": (
        "cli.remote.audit",
        "cli.remote.evidence",
        "cli.remote.receiving",
        "cli.remote.retention",
        "cli.local.archives",
    ),
    "files": ("cli.remote.files",),
    "ca": ("cli.remote.ca",),
    "tokens": ("cli.remote.tokens", "cli.remote.token_steps", "cli.remote.token_papers"),
    "token": ("cli.local.tokens",),
    "witness": ("cli.local.witness", "cli.local.carrying"),
    "tsa": ("cli.local.tsa",),
    "credential": ("cli.desk.credentials",),
    "issuing": ("cli.remote.issuing", "cli.remote.traces"),
    "desk": ("cli.desk.station", "cli.desk.servicing", "cli.desk.checking"),
}


def assembled(first: str) -> typer.Typer:
    """Build the command for a first word, or all of it if that is no noun or verb of ours."""
    app = typer.Typer(
        name="keyvault",
        help="Key material under dual control: order, approve, use, prove.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        epilog="\b\nBegin with: keyvault login --help. Every command takes --json.\n"
        "Exit statuses are those of sysexits.h.",
    )
    known = first in VERBS or first in NOUNS
    for module in dict.fromkeys(VERBS[word] for word in VERBS if word == first or not known):
        app.add_typer(import_module(module).app)
    for noun in (word for word in NOUNS if word == first or not known):
        parts = [import_module(module).app for module in NOUNS[noun]]
        for more in parts[1:]:
            parts[0].add_typer(more)
        app.add_typer(parts[0], name=noun)
    # Without this a lone verb would become the whole command and lose its name.
    app.callback()(lambda: None)
    return app


def main() -> NoReturn:
    """Run one command line and exit with a status of sysexits.h."""
    try:
        # A shell that completes needs every word, whatever stands first.
        first = "" if "_KEYVAULT_COMPLETE" in os.environ else "".join(sys.argv[1:2])
        status = assembled(first)(standalone_mode=False, prog_name="keyvault")
    except (VaultError, HsmError) as error:
        status = _failed(error)
    except typer.TyperException as error:
        status = _misused(error)
    except (typer.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = os.EX_IOERR
    except OSError as error:
        say(_plain(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")))
        status = os.EX_NOINPUT if isinstance(error, FileNotFoundError) else os.EX_OSERR
    sys.exit(status if isinstance(status, int) else os.EX_OK)


def _misused(error: typer.TyperException) -> int:
    message = error.format_message()
    if message.startswith("Usage:"):  # nothing was asked, so the help is the message
        print(message, file=sys.stderr)
        return os.EX_USAGE
    context = getattr(error, "ctx", None)  # of the command that could not be read, if it got there
    asked = context.command_path if context else "keyvault"
    return _failed(UsageError(_plain(message), next_step=f"{asked} --help"))


def _failed(error: VaultError | HsmError) -> int:
    if STYLE.json or "--json" in sys.argv:
        body = {"code": error.code, "message": str(error), "next_step": error.next_step}
        print(json.dumps({"error": body}), file=sys.stderr)
    else:
        say(str(error).strip().rstrip("."))  # as it is: it may begin with somebody's name
        if error.next_step:
            say(f"next step: {_plain(error.next_step)}")
    return exit_status(error)


def _plain(text: str) -> str:
    """Lower case at the front, unless it is an abbreviation, and no full stop."""
    text = printable(text.strip()).rstrip(".")
    first, _, rest = text.partition(" ")
    return f"{first.lower()} {rest}".rstrip() if first.istitle() and rest else text
