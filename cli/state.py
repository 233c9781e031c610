"""What the CLI keeps between calls: a session's short-lived key, and the log as last seen.

The folder is private (0700). It holds no long-lived secret: a person's credential stays where
they keep it, encrypted, and is opened again for every approval.
"""

import json
import os
import secrets
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from keyvault.domain.errors import InvalidInputError, NotAuthenticatedError

SessionDir = Annotated[
    Path | None,
    typer.Option(
        "--session",
        metavar="DIR",
        envvar="KEYVAULT_SESSION",
        help="Folder of the session. Default: keyvault in the user's state folder.",
    ),
]


@dataclass(frozen=True, slots=True)
class Session:
    """A person at a server until a time; certificate and key lie beside it."""

    folder: Path
    server: str
    person: str
    credential: str
    origin: str
    until: str
    deciding: list[str]  # the person's keys that sign decisions: SPKI in DER, in base64

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def pair(self) -> tuple[Path, Path]:
        """Client certificate and its key, both PEM."""
        return self.folder / "certificate.pem", self.folder / "key.pem"


@dataclass(frozen=True, slots=True)
class LogMemory:
    """The newest tree of a log that this folder has seen, and the genesis it trusts."""

    origin: str
    genesis: str
    size: int
    root: str  # hex
    note: str


def folder_of(given: Path | None) -> Path:
    """The session's folder, made if it is missing, readable by its owner alone."""
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = (given or base / "keyvault").resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077 or folder.stat().st_uid != os.geteuid():
        raise InvalidInputError(
            f"{folder} is open to others", next_step=f"chmod 700 {folder}, or name another folder"
        )
    return folder


def write_private(path: Path, data: bytes) -> None:
    """Put a file in place as a whole or not at all, mode 0600, surviving a power cut."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def open_session(given: Path | None) -> Session:
    """Raises `NotAuthenticatedError` if nobody is logged in here."""
    folder = folder_of(given)
    try:
        fields = json.loads((folder / "session.json").read_text())
        return Session(folder=folder, **fields)
    except (OSError, TypeError, ValueError) as error:
        raise NotAuthenticatedError(
            f"there is no session in {folder}", next_step="run: keyvault login"
        ) from error


def keep_session(session: Session) -> None:
    fields = {k: v for k, v in asdict(session).items() if k != "folder"}
    write_private(session.folder / "session.json", json.dumps(fields).encode())


def end_session(session: Session) -> None:
    """Forget the session; what was seen of the log stays, so that it cannot be rolled back."""
    for path in (*session.pair, session.ca, session.folder / "session.json"):
        path.unlink(missing_ok=True)


def remembered(folder: Path, origin: str) -> LogMemory | None:
    """What this folder has seen of a log. A damaged file is an error, never a fresh start."""
    path = _memory(folder, origin)
    if not path.exists():
        return None
    try:
        return LogMemory(**json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{path} is damaged, so the log cannot be compared with what was seen before",
            next_step="restore it from a backup, or compare checkpoints with a colleague",
        ) from error


def remember(folder: Path, memory: LogMemory) -> None:
    write_private(_memory(folder, memory.origin), json.dumps(asdict(memory)).encode())


def _memory(folder: Path, origin: str) -> Path:
    return folder / f"log-{sha256(origin.encode()).hexdigest()[:16]}.json"
