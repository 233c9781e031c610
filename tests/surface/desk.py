"""A person at a terminal: the real command in a process of its own, and what it wrote."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Transcript:
    """What one call left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        """The error that --json writes as the last line for people."""
        last: dict[str, str] = json.loads(self.err.strip().rpartition("\n")[2])["error"]
        return last


def keyvault(*words: str, typed: str = "", cwd: Path | None = None) -> Transcript:
    """Run one command line. `typed` is what arrives on its standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *words],
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
    )
    return Transcript(done.returncode, done.stdout, done.stderr)


def spoken(*words: str, typed: str = "", cwd: Path | None = None) -> Any:
    """Run one command line that has to succeed, and read its JSON answer."""
    done = keyvault(*words, "--json", typed=typed, cwd=cwd)
    assert done.status == 0, done.err
    return done.json


class Desk:
    """Someone's session with a service, in a folder of their own.

    Without a credential's file they sign by card, and the passphrase is its PIN.
    """

    def __init__(self, folder: Path, person: str, credential: Path | None, passphrase: str) -> None:
        self.session = folder / f"session-{person}"
        self.person = person
        self.credential = ("--credential", str(credential)) if credential else ("--card",)
        self.passphrase = passphrase + "\n"

    def login(self, url: str, ca: Path, *more: str) -> Transcript:
        return keyvault(
            *("login", "--server", url, "--ca", str(ca), "--person", self.person),
            *(*self.credential, "--session", str(self.session)),
            *("--passphrase-fd", "0", "--json", *more),
            typed=self.passphrase,
        )

    def keyvault(self, *words: str, typed: str = "") -> Transcript:
        return keyvault(*words, "--session", str(self.session), typed=typed)

    def ask(self, *words: str) -> Any:
        """A command that has to succeed, and its JSON answer."""
        return spoken(*words, "--session", str(self.session))

    def approve(self, request: str, *more: str) -> Transcript:
        """Approve with the passphrase typed, without being asked whether."""
        words = ("approvals", "approve", request, "--yes", "--passphrase-fd", "0", "--json")
        return self.keyvault(*words, *more, typed=self.passphrase)
