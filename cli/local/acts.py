"""Commands that a ceremony runs: each as a process of its own, at the same terminal."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from uuid import UUID

from cli.errors import ProblemError
from cli.remote.client import CALLS
from keyvault.domain.canonical import Document
from keyvault.domain.ceremonies import ACTS, VALUE_LIMIT
from keyvault.domain.errors import CeremonyError, VaultError
from keyvault.settings import Settings

ANSWER_LIMIT = 1_048_576  # bytes
_GLANCE = 0.05  # seconds between looks at what a command says
_TAIL = 8_192  # bytes of what a command says, in which its error stands


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a command. `secrets` are descriptors that it reads from, by their options."""

    words: Sequence[str]
    folder: Path
    secrets: Mapping[str, int] = field(default_factory=dict)
    seed: UUID | None = None


def line_of(command: str, options: Mapping[str, str]) -> list[str]:
    """The words of a command, as one would type them. `officers` is written elsewhere."""
    act = ACTS[command]
    words = [*command.split(), *(options[name] for name in act.places)]
    for name in act.options:
        if name in options and name != "officers":
            values = options[name].split() if name in act.many else [options[name]]
            words += [word for value in values for word in (f"--{name}", value)]
    return words


def run(call: Call) -> Document:
    """Run a command and return its answer. Raises what it ended with, as a `VaultError`.

    What it says for people goes to the terminal as it comes.
    """
    line = [sys.executable, "-m", "cli", *call.words, "--json"]
    line += [word for name, one in call.secrets.items() for word in (name, str(one))]
    seed = {CALLS: str(call.seed)} if call.seed else {}
    # Into files, not pipes: a command that is under way ends well even if this process is killed.
    with TemporaryFile() as out, TemporaryFile() as words:
        with subprocess.Popen(  # noqa: S603  (our own interpreter and commands)
            line,
            stdout=out,
            stderr=words,
            pass_fds=tuple(set(call.secrets.values())),
            cwd=call.folder,
            env={**os.environ, **seed},
        ) as child:
            said = _told(child, words.fileno())
        out.seek(0)
        answer = out.read(ANSWER_LIMIT)
    if child.returncode != os.EX_OK:
        raise _failure(said, child.returncode)
    return _document(answer)


def kept(command: str, answer: Document) -> dict[str, str]:
    """What of an answer goes into the journal: short texts of the fields that are listed."""
    act, found = ACTS[command], {}
    for name, place in zip(act.fields, act.keeps, strict=True):
        value: Any = answer
        for part in place.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            found[name] = str(value)[:VALUE_LIMIT]
    return found


def founded(folder: Path) -> dict[str, str] | None:
    """What `init` would have answered of a service that is there already, or None."""
    config = folder / "keyvault.toml"
    if not config.is_file():
        return None
    settings = Settings.load(config)
    return {
        "config": str(config),
        "genesis": settings.genesis,
        "origin": settings.origin,
        "server": f"https://localhost:{settings.api.port}",
        "ca": str(folder / "tls" / "server.pem"),
    }


def _told(child: subprocess.Popen[bytes], source: int) -> bytes:
    """Pass on what the child says until it ends, and return the end of it."""
    place, tail = 0, b""
    while True:
        ended = child.poll() is not None
        while part := os.pread(source, 65_536, place):
            place, tail = place + len(part), (tail + part)[-_TAIL:]
            sys.stderr.buffer.write(part)
            sys.stderr.buffer.flush()
        if ended:
            return tail
        time.sleep(_GLANCE)


def _failure(said: bytes, status: int) -> VaultError:
    try:
        error = json.loads(said.strip().rpartition(b"\n")[2])["error"]
        return ProblemError(error["code"], status, error["message"], error["next_step"])
    except (ValueError, KeyError, TypeError):
        return CeremonyError(f"the command ended with status {status}")


def _document(answer: bytes) -> Document:
    try:
        value = json.loads(answer)
    except ValueError as error:
        raise CeremonyError("the command's answer is no JSON") from error
    return value if isinstance(value, dict) else {}
