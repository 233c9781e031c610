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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from cli.desk.credentials import public_file, write_public
from cli.desk.signing import KeyFile
from cli.local import acts
from cli.local.acts import Call
from cli.local.book import Book
from cli.local.conducting import Conductor, Purse, Table, pipe_with
from cli.local.seats import Seat
from cli.passphrases import Secrets
from keyvault.domain.canonical import Document
from keyvault.domain.ceremonies import Script
from keyvault.domain.errors import NotReadyError
from keyvault.domain.journals import Journal, Mode, Participant
from keyvault.domain.times import day_text
from keyvault.signatures import SoftwareCredential

_PASSPHRASE = b"rehearsal only"
_LEAST = 3  # officers of a service
_PATIENCE = 20.0  # seconds for a service to end


class _Known(Secrets):
    """Answers every question for a passphrase with that of the rehearsal."""

    def __init__(self) -> None:
        super().__init__(None)

    def next(self, prompt: str) -> bytes:  # noqa: ARG002  (all have the same)
        return _PASSPHRASE


@dataclass
class _KnownPurse(Purse):
    secrets: Secrets = field(default_factory=_Known)
    given: list[int] = field(default_factory=list)

    def for_command(self, times: int) -> int | None:
        self.close()
        self.given.append(pipe_with((_PASSPHRASE + b"\n") * times))
        return self.given[-1]

    def close(self) -> None:
        while self.given:
            os.close(self.given.pop())


def rehearse(script: Script) -> Journal:
    """Hold the whole script and return its journal. Raises what stops it; nothing stays either way.

    Commands that need a service get one of their own, with the roles as its officers.
    """
    folder = Path(tempfile.mkdtemp(prefix="kv-rehearsal-"))
    purse = _KnownPurse(_Known())
    try:
        seats = _seats(folder, script)
        table = Table(folder, script, seats, purse, _opening(script, seats), yes=True, work=folder)
        with _service(table, purse), Book(folder) as book:
            return Conductor(table, book).hold()
    finally:
        purse.close()
        shutil.rmtree(folder)


def _seats(folder: Path, script: Script) -> dict[str, Seat]:
    today = day_text(datetime.now(UTC))
    seats = {}
    for number, role in enumerate(script.roles, 1):
        key = folder / f"{role}.key"
        spki = SoftwareCredential.create(key, _PASSPHRASE).spki
        person = f"rehearsing-{number}"
        screened = f"reviewed={today},reference=rehearsal"
        officer = f"id={person},name=Rehearsing {role},{screened},credential={key}"
        write_public(public_file(key), spki)
        who = Participant(role, person, f"Rehearsing {role}", spki)
        seats[role] = Seat(who, KeyFile(key), officer)
    return seats


def _opening(script: Script, seats: dict[str, Seat]) -> Document:
    return {
        "ceremony": str(uuid4()),
        "mode": str(Mode.REHEARSAL),
        "script_sha256": script.sha256,
        "title": script.title,
        "people": [seat.participant.document() for seat in seats.values()],
    }


@contextmanager
def _service(table: Table, purse: _KnownPurse) -> Iterator[None]:
    """A service of the rehearsal's own, if the script needs one."""
    if not table.script.needs_service:
        yield
        return
    made = _founded(table, purse)
    line = [sys.executable, "-m", "cli", "serve", "--config", made["config"]]
    with (table.folder / "service.log").open("wb") as log:
        service = subprocess.Popen(  # noqa: S603  (our own command)
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
    try:
        if not (service.stdout and service.stdout.readline().startswith(b"ready")):
            raise NotReadyError("the service of the rehearsal did not start")
        table.enter = lambda seat: _entered(table, purse, made, seat)
        yield
    finally:
        _ended(service)


def _founded(table: Table, purse: _KnownPurse) -> Document:
    officers = [seat.officer for seat in table.seats.values()]
    words = ["init", "--folder", str(table.folder / "service"), "--site", "keyvault.rehearsal"]
    words += ["--port", str(_free_port()), "--yes"]
    officers += [_more(table.folder, number) for number in range(len(officers), _LEAST)]
    words += [word for one in officers for word in ("--officer", one)]
    return acts.run(Call(words, table.folder, purse.for_command(len(officers))))


def _more(folder: Path, number: int) -> str:
    """One more officer, where a script has fewer roles than a service has officers."""
    key = folder / f"officer-{number}.key"
    write_public(public_file(key), SoftwareCredential.create(key, _PASSPHRASE).spki)
    screened = f"reviewed={day_text(datetime.now(UTC))},reference=rehearsal"
    return f"id=officer-{number},name=Officer {number},{screened},credential={key}"


def _entered(table: Table, purse: _KnownPurse, made: Document, seat: Seat) -> Path:
    session = table.folder / "sessions" / seat.participant.person
    if not (session / "session.json").exists():
        words = ["login", "--person", seat.participant.person, *seat.door]
        words += ["--server", made["server"], "--ca", made["ca"], "--genesis", made["genesis"]]
        words += ["--session", str(session)]
        acts.run(Call(words, table.folder, purse.for_command(1)))
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
