"""A rehearsal: the whole script on throw-away tokens, by throw-away credentials, and no trace.

It knows no production service: whatever it needs, it makes in a folder of its own that goes
afterwards. What it leaves is a transcript that says on every page what it is.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from cli.desk.credentials import public_file, write_public
from cli.desk.shares import ShareFile
from cli.desk.signing import KeyFile
from cli.local import acts
from cli.local.acts import Call
from cli.local.book import Book
from cli.local.conducting import Conductor, Need, Purse, Table
from cli.local.layout import CONFIG, SOFTHSM_CONFIG
from cli.local.seats import Seat
from cli.local.tokens import module_file
from cli.passphrases import Secrets
from cli.remote.client import connect
from cli.remote.shares import opened_share
from hsm.registry import initialise_token
from keyvault.domain.canonical import Document
from keyvault.domain.ceremonies import Act, Script
from keyvault.domain.errors import NotReadyError
from keyvault.domain.journals import Journal, Mode, Participant
from keyvault.domain.times import day_text
from keyvault.signatures import SoftwareCredential

_PASSPHRASE = b"rehearsal only"
_PIN = b"123456"  # of a token that lives for minutes
_LEAST = 3  # officers of a service
_PATIENCE = 20.0  # seconds for a service to end
_COMPONENT = (
    32  # bytes: the n-th component is n in each of them, so that scripts can name its check value
)
_LOGIN = Act(secrets=1)


class _Known(Secrets):
    """Answers every question for a passphrase with that of the rehearsal."""

    def __init__(self) -> None:
        super().__init__(None)

    def next(self, prompt: str) -> bytes:  # noqa: ARG002  (all have the same)
        return _PASSPHRASE


@dataclass
class _KnownPurse(Purse):
    """Types what people would: passphrases, components that mean nothing, words of shares."""

    folder: Path = field(default_factory=Path)
    open: list[int] = field(default_factory=list)
    components: int = 0
    share_keys: dict[str, str] = field(default_factory=dict)  # of each person, their file

    def for_command(self, need: Need) -> dict[str, int]:
        self.close()
        if not need.act.secrets:
            return {}
        person = need.seat.participant.person if need.seat else ""
        if need.act.secrets > 1 and need.seat:
            self.share_keys[person] = need.options["out"]
        if need.act.words:
            return {"--passphrase-fd": self._pipe(self._words(person) + b"\n")}
        given = {"--passphrase-fd": self._pipe((_PASSPHRASE + b"\n") * need.times)}
        if need.act.component:
            self.components += 1
            typed = bytes([self.components] * _COMPONENT).hex().encode() + b"\n"
            given["--component-fd"] = self._pipe(typed * 2)
        return given

    def close(self) -> None:
        while self.open:
            os.close(self.open.pop())

    def _pipe(self, lines: bytes) -> int:
        reading, writing = os.pipe()
        os.write(writing, lines)
        os.close(writing)
        self.open.append(reading)
        return reading

    def _words(self, person: str) -> bytes:
        session = self.folder / "sessions" / person
        [share] = connect(session).get("/v1/shares", holder=person)["items"]
        key = ShareFile(self.folder / self.share_keys[person])
        return opened_share(session, UUID(share["backup_key"]), key, self.secrets).words.encode()


def rehearse(scripts: Sequence[Script]) -> Journal:
    """Hold whole scripts one after another, and return the journal of the last.

    Raises what stops it; nothing stays either way. Commands that need a service get one of their
    own, with the roles as its officers, and a second token beside it.
    """
    folder = Path(tempfile.mkdtemp(prefix="kv-rehearsal-"))
    purse = _KnownPurse(_Known(), folder=folder)
    try:
        roles = tuple(dict.fromkeys(role for script in scripts for role in script.roles))
        seats = {role: _seat(folder, number, role) for number, role in enumerate(roles, 1)}
        needed = any(script.needs_service for script in scripts)
        with _service(folder, seats, purse) if needed else _nothing() as made:
            return _held(folder, scripts, seats, purse, made)
    finally:
        purse.close()
        shutil.rmtree(folder)


def _held(
    folder: Path,
    scripts: Sequence[Script],
    seats: Mapping[str, Seat],
    purse: _KnownPurse,
    made: Document | None,
) -> Journal:
    journal, before = Journal(), dict[str, dict[str, str]]()
    for script in scripts:
        place = folder / f"ceremony-{script.name}"
        place.mkdir()
        own = {role: seats[role] for role in script.roles}
        table = Table(place, script, own, purse, _opening(script, own), yes=True, work=folder)
        table.before = before
        table.enter = partial(_entered, folder, purse, made) if made else None
        with Book(place) as book:
            journal = Conductor(table, book).hold()
        before = journal.values()
    return journal


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


def _seat(folder: Path, number: int, role: str) -> Seat:
    person, name = f"rehearsing-{number}", f"Rehearsing {role}"
    key, officer = _credential(folder, person, name)
    spki = SoftwareCredential.open(key, _PASSPHRASE).spki
    return Seat(Participant(role, person, name, spki), KeyFile(key), officer)


def _credential(folder: Path, person: str, name: str) -> tuple[Path, str]:
    key = folder / f"{person}.key"
    write_public(public_file(key), SoftwareCredential.create(key, _PASSPHRASE).spki)
    screened = f"reviewed={day_text(datetime.now(UTC))},reference=rehearsal"
    return key, f"id={person},name={name},{screened},credential={key}"


def _opening(script: Script, seats: Mapping[str, Seat]) -> Document:
    return {
        "ceremony": str(uuid4()),
        "mode": str(Mode.REHEARSAL),
        "script_sha256": script.sha256,
        "title": script.title,
        "people": [seat.participant.document() for seat in seats.values()],
    }


@contextmanager
def _service(folder: Path, seats: Mapping[str, Seat], purse: _KnownPurse) -> Iterator[Document]:
    """A service of the rehearsal's own, which lasts as long as it."""
    made = _founded(folder, seats, purse)
    line = [sys.executable, "-m", "cli", "serve", "--config", made["config"]]
    with (folder / "service.log").open("wb") as log:
        service = subprocess.Popen(  # noqa: S603  (our own command)
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
    try:
        if not (service.stdout and service.stdout.readline().startswith(b"ready")):
            raise NotReadyError("the service of the rehearsal did not start")
        yield made
    finally:
        _ended(service)


def _founded(folder: Path, seats: Mapping[str, Seat], purse: _KnownPurse) -> Document:
    officers = [seat.officer for seat in seats.values()]
    more = range(len(officers), _LEAST)
    officers += [_credential(folder, f"officer-{n}", f"Officer {n}")[1] for n in more]
    words = ["init", "--folder", str(folder / "service"), "--site", "keyvault.rehearsal"]
    words += ["--port", str(_free_port()), "--yes"]
    words += [word for one in officers for word in ("--officer", one)]
    made = acts.run(Call(words, folder, purse.for_command(Need(_LOGIN, len(officers)))))
    _add_spare(folder / "service")
    return made


def _add_spare(service: Path) -> None:
    """A second token, for backups to be restored into."""
    tokens, config = service / "spare-tokens", service / "spare.conf"
    tokens.mkdir()
    config.write_text(SOFTHSM_CONFIG.format(tokens=tokens))
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(config)
    uri = initialise_token(module_file("softhsm2"), "spare", _PIN, _PIN)
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before
    pin = service / "credentials" / "spare"
    pin.touch(0o600)
    pin.write_bytes(_PIN + b"\n")
    with (service / CONFIG).open("a") as settings:
        settings.write(
            f"[spare]\nuri = '''{uri}'''\nsocket = 'sockets/spare.sock'\npin = 'spare'\n"
        )
        settings.write(f"[spare.environment]\nSOFTHSM2_CONF = '{config}'\n")


def _entered(folder: Path, purse: _KnownPurse, made: Document, seat: Seat) -> Path:
    session = folder / "sessions" / seat.participant.person
    if not (session / "session.json").exists():
        words = ["login", "--person", seat.participant.person, *seat.door]
        words += ["--server", made["server"], "--ca", made["ca"], "--genesis", made["genesis"]]
        words += ["--session", str(session)]
        acts.run(Call(words, folder, purse.for_command(Need(_LOGIN))))
    return session


def _ended(service: "subprocess.Popen[bytes]") -> None:
    service.send_signal(signal.SIGTERM)
    try:
        service.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()
    if service.stdout:
        service.stdout.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
