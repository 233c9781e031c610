"""Settings: where their paths start."""

from pathlib import Path
from typing import Any

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
