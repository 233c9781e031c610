"""The genesis ceremony, step by step; what it decides is `keyvault.operations.genesis`."""

import socket
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cli.local.layout import CONFIG, Token, development_tokens, make_folder, toml, write_new
from cli.local.officers import Officer, persons, sign_in_turn
from cli.local.tls import server_certificate
from cli.local.tokens import module_file
from cli.output import say
from cli.passphrases import Secrets
from keyvault.domain.authority import Services
from keyvault.domain.canonical import Document
from keyvault.domain.chain import Record
from keyvault.domain.errors import InvalidInputError
from keyvault.gate import ceremony
from keyvault.gate.process import wipe
from keyvault.operations.genesis import complete, propose
from keyvault.settings import Settings
from keyvault.store.unit_of_work import Database


@dataclass(frozen=True, slots=True)
class Plan:
    """What the person at the terminal wants."""

    folder: Path
    site: str
    origin: str | None
    officers: list[Officer]
    hosts: tuple[str, ...]
    listen: tuple[str, int]
    database: str
    module: str
    uris: tuple[str | None, str | None]
    environment: dict[str, str]

    @property
    def log(self) -> str:
        return self.origin or f"{self.site}/keyvault/{datetime.now(UTC).year}-1"


def hold(plan: Plan, pins: Secrets, passphrases: Secrets, *, yes: bool) -> dict[str, str]:
    """Make everything and return where it is. The settings file comes last: it makes it real.

    Raises `VaultError` or `HsmError`; a folder that was begun has to be removed by hand then.
    """
    make_folder(plan.folder)
    tokens = _tokens(plan, pins)
    written, config = _settings(plan, tokens), plan.folder / CONFIG
    say("making the service's own keys inside the HSM")
    services = _service_keys(tokens, plan.folder / f".{CONFIG}.draft", written)
    people = persons(plan.officers)
    document = propose(plan.log, plan.site, people, services, datetime.now(UTC))
    approvals = sign_in_turn(document, services, plan.officers, passphrases, yes=yes)
    _server_identity(plan)
    with closing(_database(written, plan.folder)) as database:
        database.migrate()
        record = complete(database, document, approvals)
    write_new(config, toml({**written, "genesis": record.hash}).encode())
    Settings.load(config)
    return _made(plan, record, config)


def _tokens(plan: Plan, pins: Secrets) -> list[Token]:
    keys_uri, log_uri = plan.uris
    if keys_uri is None and log_uri is None:
        say("making two SoftHSM tokens: for development, since SoftHSM is no validated module")
        return development_tokens(plan.folder, module_file(plan.module))
    if keys_uri is None or log_uri is None:
        raise InvalidInputError("give the URIs of both tokens, or of neither")
    return [
        Token(name, uri, bytearray(pins.next(f"user PIN of the {name} token")), plan.environment)
        for name, uri in (("keys", keys_uri), ("log", log_uri))
    ]


def _service_keys(tokens: list[Token], draft: Path, written: Document) -> Services:
    keys, log = tokens
    write_new(draft, toml(written).encode())
    try:
        return ceremony.hold(draft, keys.pin, log.pin)
    finally:
        draft.unlink()
        wipe(keys.pin)
        wipe(log.pin)


def _server_identity(plan: Plan) -> None:
    certificate, key = server_certificate(plan.hosts)
    write_new(plan.folder / "tls" / "server.pem", certificate)
    (plan.folder / "tls" / "server.pem").chmod(0o644)  # it is public: clients need it
    write_new(plan.folder / "tls" / "server.key", key)


def _settings(plan: Plan, tokens: list[Token]) -> Document:
    host, port = plan.listen
    return {
        "site": plan.site,
        "origin": plan.log,
        "node": socket.gethostname(),
        "database": plan.database,
        "state": "state",
        "recorder": "sockets/recorder.sock",
        "credentials": "credentials",
        **{token.name: token.settings() for token in tokens},
        "api": {
            "host": host,
            "port": port,
            "certificate": "tls/server.pem",
            "private_key": "tls/server.key",
        },
    }


def _database(written: Document, folder: Path) -> Database:
    settings = Settings.model_validate(written).anchored(folder.resolve())
    return Database(settings.database, node=settings.node)


def _made(plan: Plan, record: Record, config: Path) -> dict[str, str]:
    host, port = plan.hosts[0], plan.listen[1]
    return {
        "config": str(config),
        "genesis": record.hash,
        "origin": plan.log,
        "server": f"https://{host}:{port}",
        "ca": str(plan.folder / "tls" / "server.pem"),
    }
