"""Settings: where their paths start, and the page that lists them."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from keyvault.domain.errors import InvalidInputError
from keyvault.settings import Settings
from keyvault.supervisor import services

FOLDER = Path("/srv/site")
MODULE = {"uri": "pkcs11:token=t", "socket": "gate", "environment": {"A": "./a", "B": "plain"}}
TEXT = {
    "site": "s",
    "origin": "s/l/2026-1",
    "node": "n",
    "database": "sqlite:///keyvault.db",
    "state": "state",
    "recorder": "recorder",
    "credentials": "credentials",
    "anchor": "anchor",
    "keys": MODULE,
    "log": MODULE,
    "spare": MODULE,
    "api": {
        "certificate": "c",
        "private_key": "k",
        "proxy": {"socket": "proxy", "users": ["www"]},
    },
    "notices": {"webhook": {"url": "https://localhost", "ca": "ca"}},
    "issuing": {"profiles": "profiles", "attesters": "attesters"},
    "witnesses": {"policy": "policy", "ca": "ca"},
    "time": {
        "authorities": [
            {"name": "t", "url": "u", "ca": "ca", "certificate": "c", "tls_ca": "tls"},
        ]
    },
    "streams": [
        {
            "name": "one",
            "syslog": {"host": "h", "ca": "ca", "certificate": "c", "private_key": "k"},
        },
        {"name": "two", "webhook": {"url": "u", "ca": "ca"}},
        {"name": "three", "file": {"path": "copies"}},
    ],
}


def paths(value: Any) -> list[Path]:
    if isinstance(value, BaseModel):
        return [path for _, field in value for path in paths(field)]
    if isinstance(value, tuple):
        return [path for one in value for path in paths(one)]
    return [value] if isinstance(value, Path) else []


def test_every_path_starts_at_the_folder_of_the_file():
    before = Settings.model_validate(TEXT)
    after = before.anchored(FOLDER)
    assert len(paths(before)) == 23
    assert paths(after) == [FOLDER / path for path in paths(before)]
    assert after.keys.environment == {"A": "/srv/site/a", "B": "plain"}
    assert after.anchored(Path("/elsewhere")) == after


@pytest.mark.parametrize(
    ("given", "led"),
    [
        ("sqlite:///keyvault.db", "sqlite:////srv/site/keyvault.db"),
        ("sqlite:////var/keyvault.db", "sqlite:////var/keyvault.db"),
        ("postgresql+psycopg://localhost/kv", "postgresql+psycopg://localhost/kv"),
    ],
)
def test_a_database_in_a_file_starts_there_too(given: str, led: str):
    settings = Settings.model_validate({**TEXT, "database": given})
    assert settings.anchored(FOLDER).database == led


def test_gates_of_one_token_start_one_after_another_and_listen_side_by_side():
    keys = {**MODULE, "socket": "gate.sock", "workers": 3}
    settings = Settings.model_validate({**TEXT, "keys": keys}).anchored(FOLDER)
    sockets = ["gate.sock", "gate-2.sock", "gate-3.sock"]
    assert settings.keys.sockets == tuple(FOLDER / one for one in sockets)
    assert settings.keys.socket_of(3) == FOLDER / "gate-3.sock"
    with pytest.raises(InvalidInputError, match="no number 4"):
        settings.keys.socket_of(4)
    started = services(settings, FOLDER / "keyvault.toml")
    assert [one.name for one in started][:4] == ["gate", "gate-2", "gate-3", "log-gate"]
    assert not any(one.beside for one in started[:3])
    assert started[2].arguments[-2:] == ("--worker", "3")


@pytest.mark.parametrize("part", ["log", "spare"])
def test_only_the_keys_have_several_gates(part: str):
    with pytest.raises(ValidationError, match="one gate each"):
        Settings.model_validate({**TEXT, part: {**MODULE, "workers": 2}})


def test_the_page_of_settings_lists_each_with_its_default():
    page = (Path(__file__).parents[2] / "docs/settings.md").read_text()
    listed = re.findall(r"(?m)^\| `([\w.]+)` \| (.*?) \|", page)
    assert set(listed) == set(named(Settings))


def named(model, path="", made=None):
    """Name and default of each setting, as the page writes them; tables by what is in them."""
    for name, field in model.model_fields.items():
        default = getattr(made, name) if made else field.default
        inner = next(models(field.annotation), None)
        # What a token or the server needs has a heading of its own.
        at = "" if name in {"keys", "log", "spare", "api"} else f"{path}{name}."
        if inner is not None:
            yield from named(inner, at, default if isinstance(default, BaseModel) else None)
        else:
            yield (
                path + name,
                "needed" if made is None and field.is_required() else written(default),
            )


def models(annotation):
    """The models in a type, such as that of `tuple[StationSettings, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def written(default):
    match default:
        case None | () | {}:
            return "none"
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case tuple():
            return ", ".join(f"`{item}`" for item in default)
        case _:
            return str(default) or "empty"
