"""`keyvault init`: from an empty folder to a service whose authority every officer has signed."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command, group
from cli.local.ceremony import Plan, hold
from cli.local.layout import see_empty
from cli.local.officers import Officer, officer
from cli.output import answer, facts, grouped, say
from cli.passphrases import PassphraseFd, Secrets, line_of
from keyvault.domain.errors import InvalidInputError

app = group("Found a service.")


MIN_OFFICERS = 3
EXAMPLE = "id=alice,name=Alice Ash,reviewed=2026-01-31,reference=HR-17,credential=alice.key"
HOSTS = ("localhost", "127.0.0.1")

Folder = Annotated[Path | None, typer.Option(metavar="DIR", help="A new folder for the service.")]
Site = Annotated[str | None, typer.Option(metavar="NAME", help="Such as keyvault.example.")]
Origin = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of the log. Default: SITE/keyvault/YEAR-1.")
]
Officers = Annotated[
    list[str] | None,
    typer.Option(
        "--officer",
        metavar="SPEC",
        help=f"{EXAMPLE}, or card=READER; at least three.",
    ),
]
Hosts = Annotated[
    list[str] | None, typer.Option("--host", metavar="NAME", help="Clients call it so; repeat.")
]
Listen = Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]
DatabaseUrl = Annotated[str, typer.Option(metavar="URL", help="Without a password in it.")]
Module = Annotated[
    str, typer.Option("--module", metavar="NAME|PATH", help="SoftHSM, for development tokens.")
]
KeysUri = Annotated[str | None, typer.Option(metavar="URI", help="Token for keys (RFC 7512).")]
LogUri = Annotated[str | None, typer.Option(metavar="URI", help="Token for the log's key.")]
Environment = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="For the modules alone; repeat.")
]
PinFd = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="User PINs of the two tokens, one a line.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")]


@command(
    app,
    "init",
    "keyvault init",
    "keyvault init --folder service --site keyvault.example"
    f" --officer '{EXAMPLE}' --officer … --officer …",
)
def init(
    folder: Folder = None,
    site: Site = None,
    origin: Origin = None,
    officer_: Officers = None,
    host: Hosts = None,
    listen: Listen = "127.0.0.1",
    port: Port = 8443,
    database: DatabaseUrl = "sqlite:///keyvault.db",
    module: Module = "softhsm2",
    keys_uri: KeysUri = None,
    log_uri: LogUri = None,
    environment: Environment = None,
    pin_fd: PinFd = None,
    passphrase_fd: PassphraseFd = None,
    yes: Yes = False,
) -> None:
    """Hold the genesis ceremony: tokens, service keys, database, settings, officers' signatures.

    What is not given is asked for. Without token URIs two SoftHSM tokens are made, with random
    PINs in the credentials folder: right for development, never for production.
    """
    where = folder or Path(asked("folder of the service", "service"))
    see_empty(where)
    named = site or asked("name of the site", "keyvault.example")
    people, at, uris = officers(officer_, named), (listen, port), (keys_uri, log_uri)
    hosts, variables = tuple(host or HOSTS), environment_of(environment or [])
    plan = Plan(where, named, origin, people, hosts, at, database, module, uris, variables)
    _tell(hold(plan, Secrets(pin_fd), Secrets(passphrase_fd), yes=yes))


def _tell(made: dict[str, str]) -> None:
    say(f"give the genesis hash to everybody; start with: keyvault serve --config {made['config']}")
    answer(made, facts({**made, "genesis": grouped(made["genesis"])}.items()))


def asked(question: str, default: str) -> str:
    """Ask a person at the terminal; Enter or the end of input takes the default."""
    offered = f" [{default}]" if default else ""
    print(f"keyvault: {question}{offered}: ", end="", file=sys.stderr, flush=True)
    return line_of(sys.stdin.fileno()).decode().strip() or default


def officers(given: list[str] | None, site: str) -> list[Officer]:
    """Read the officers from the options, or ask for three, one after another."""
    if given is None:
        say(f"an officer is written: {EXAMPLE}")
        given = [asked(f"officer {number}", "") for number in range(1, MIN_OFFICERS + 1)]
    now = datetime.now(UTC)
    found = [officer(text, number, site, now) for number, text in enumerate(given)]
    if len(found) < MIN_OFFICERS:
        raise InvalidInputError(
            f"a genesis has at least {MIN_OFFICERS} officers",
            next_step="with two, the one who asks would know every approver",
        )
    return found


def environment_of(pairs: list[str]) -> dict[str, str]:
    """Read NAME=VALUE pairs. Raises `InvalidInputError`."""
    split = [pair.partition("=") for pair in pairs]
    if not all(name and equals for name, equals, _ in split):
        raise InvalidInputError("a module's environment is written NAME=VALUE")
    return {name: value for name, _, value in split}
