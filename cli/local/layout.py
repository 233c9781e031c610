"""The folder of a service: what lies where, its settings file, and its development tokens."""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from hsm.registry import initialise_token
from keyvault.domain.canonical import Document
from keyvault.domain.errors import InvalidInputError

CONFIG = "keyvault.toml"
SOFTHSM_CONFIG = """\
# Tokens of a development service. SoftHSM is no validated module.
directories.tokendir = {tokens}
objectstore.backend = file
log.level = ERROR
slots.removable = false
"""


@dataclass(frozen=True, slots=True)
class Token:
    """One token for the ceremony: where it is, its user PIN, and what its module needs to know."""

    name: str  # keys or log
    uri: str
    pin: bytearray
    environment: dict[str, str]
    pin_file: str = ""  # in the credentials folder; empty: asked for at every start

    def settings(self) -> Document:
        return {
            "uri": self.uri,
            "socket": f"sockets/{self.name}.sock",
            "pin": self.pin_file,
            "environment": self.environment,
        }


def see_empty(folder: Path) -> None:
    """Raises `InvalidInputError` if something is there, and says what may be done with it."""
    if (folder / CONFIG).exists():
        raise InvalidInputError(
            f"{folder} holds a service and is left alone",
            next_step=f"start it: keyvault serve --config {folder / CONFIG}; or name a new folder",
        )
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInputError(
            f"{folder} is not empty and is left alone",
            next_step="name a new folder; what a genesis left that nobody finished can be removed",
        )


def make_folder(folder: Path) -> None:
    """Make the service's folders, private. Raises `InvalidInputError` if something is there."""
    see_empty(folder)
    for name in (".", "credentials", "state", "sockets", "tls"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def development_tokens(folder: Path, module: str) -> list[Token]:
    """Make two SoftHSM tokens with random PINs, which stay in the credentials folder (0600)."""
    tokens = folder / "tokens"
    tokens.mkdir(mode=0o700)
    (folder / "softhsm2.conf").write_text(SOFTHSM_CONFIG.format(tokens=tokens.resolve()))
    os.environ["SOFTHSM2_CONF"] = str(folder.resolve() / "softhsm2.conf")
    return [_development_token(folder, module, name) for name in ("keys", "log")]


def _development_token(folder: Path, module: str, name: str) -> Token:
    so_pin, pin = (
        _random_pin(folder / "credentials" / f"{name}.{kind}") for kind in ("so-pin", "pin")
    )
    uri = initialise_token(module, f"keyvault-{name}", so_pin, pin)
    return Token(name, uri, bytearray(pin), {"SOFTHSM2_CONF": "./softhsm2.conf"}, f"{name}.pin")


def _random_pin(path: Path) -> bytes:
    pin = secrets.token_urlsafe(18).encode()
    write_new(path, pin)
    return pin


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist, readable by its owner alone."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def toml(document: Document) -> str:
    """Write a settings file: values first, then a table for each object in it."""
    lines, tables = [], []
    for name, value in document.items():
        if isinstance(value, dict) and name != "environment":
            tables.append(f"\n[{name}]\n{toml(value)}")
        else:
            lines.append(f"{name} = {_value(value)}\n")
    return "".join([*lines, *tables])


def _value(value: object) -> str:
    if isinstance(value, dict):
        pairs = ", ".join(f"{name} = {_value(item)}" for name, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    # A JSON string is a TOML basic string, but that TOML wants DEL escaped as well.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
