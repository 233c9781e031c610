"""PKCS#11 tokens: see them, and initialise a new one with its user PIN and SO-PIN."""

from typing import Annotated

import typer

from cli.command import command, group
from cli.confirm import confirm
from cli.output import answer, facts, say, table
from cli.passphrases import Secrets
from hsm.modules import module_of
from hsm.registry import initialise_token, list_tokens
from hsm.uri import Pkcs11Uri
from keyvault.domain.errors import InvalidInputError

app = group("See the tokens of a PKCS#11 module, and initialise one.")

ModulePath = Annotated[
    str,
    typer.Option("--module", metavar="NAME|PATH", help="Library: its path, or a name to look up."),
]
PinFd = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=0, help="Read the PINs from descriptor N, one a line: SO-PIN, user PIN."
    ),
]
PIN_SIZES = range(4, 256)  # characters


@command(app, "list", "keyvault token list", "keyvault token list --module /usr/lib/vendor.so")
def list_(module: ModulePath = "softhsm2") -> None:
    """List the slots that hold a token."""
    tokens = list_tokens(module_file(module))
    columns = ("slot", "label", "serial", "model", "initialised")
    names = ("slot_id", "label", "serial", "model", "initialised")
    answer(tokens, table(columns, ([token.get(name) for name in names] for token in tokens)))


@command(app, "init", "keyvault token init --label keyvault-keys")
def init(
    label: Annotated[str, typer.Option(help="What the token will be called.")],
    module: ModulePath = "softhsm2",
    slot: Annotated[int | None, typer.Option(help="Default: the first that is free.")] = None,
    pin_fd: PinFd = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")] = False,
) -> None:
    """Initialise a token. A slot that is named loses whatever is on it."""
    path = module_file(module)
    pairs = [
        ("this will", f"initialise a token called {label}"),
        ("module", path),
        ("slot", "the first that is free" if slot is None else slot),
        (
            "can be undone",
            "yes, nothing is lost" if slot is None else "NO: all keys on it are lost",
        ),
    ]
    confirm("initialise a token", pairs, yes=yes)
    secrets = Secrets(pin_fd)
    so_pin, pin = (_checked(secrets.chosen(name)) for name in ("new SO-PIN", "new user PIN"))
    uri = initialise_token(path, label, so_pin, pin, slot)
    say("keep the two PINs with two people: the SO-PIN can replace the user PIN")
    answer({"uri": uri}, facts([("uri", uri)]))


def module_file(text: str) -> str:
    """Resolve what --module says: a path as it stands, or a name that is looked up."""
    return text if "/" in text else module_of(Pkcs11Uri(module_name=text))


def _checked(pin: bytes) -> bytes:
    if len(pin) not in PIN_SIZES:
        raise InvalidInputError(f"a PIN has {PIN_SIZES.start} to {PIN_SIZES.stop - 1} characters")
    return pin
