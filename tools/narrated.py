"""What every told story shares: a folder of its own, people at their terminals, a real service.

People use the `keyvault` command as they would at a terminal, but that their passphrases come
through a pipe.
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from keyvault.evidence import built
from keyvault.operations.genesis import DUTY

ROOT = Path(__file__).resolve().parents[1]
OFFICERS = {"alice": "Alice Ash", "bob": "Bob Birch", "carol": "Carol Cole"}
READY_SECONDS = 90.0
Answer = dict[str, Any]


class StoryError(Exception):
    """A step did not end as it must."""


@dataclass
class Story:
    """What has been made so far, and the service while it runs."""

    name: str  # of the target of make that tells it, and of its folder
    folder: Path
    port: int
    started: float = field(default_factory=time.monotonic)
    step: int = 0
    officers: dict[str, str] = field(default_factory=lambda: OFFICERS)
    passphrases: dict[str, str] = field(default_factory=dict)
    service: subprocess.Popen[str] | None = None
    summary: Answer = field(default_factory=dict)

    @property
    def mark(self) -> Path:
        return self.folder / f".made-by-make-{self.name}"

    def tell(self, title: str, *lines: str) -> None:
        """Begin a step, in words for somebody who has never seen this before."""
        self.step += 1
        print(f"\n{self.step}. {title}  [{time.monotonic() - self.started:.0f} s]", flush=True)
        for line in lines:
            print(f"   {line}", flush=True)

    def keyvault(
        self,
        *words: str,
        person: str = "",
        signers: tuple[str, ...] = (),
        refused: str = "",
        typed: str = "",
    ) -> Answer:
        """Run the command as a person. `refused` is the error code that has to come.

        `typed` are lines that come before the passphrases.
        """
        line = [sys.executable, "-m", "cli", *words]
        line += ["--session", str(self.folder / "sessions" / person)] if person else []
        line += ["--passphrase-fd", "0"] if signers else []
        show(f"{person or 'admin'}$ keyvault", words)
        typed += "".join(f"{self.passphrases[name]}\n" for name in signers)
        done = subprocess.run(
            [*line, "--json"], input=typed, capture_output=True, text=True, check=False, cwd=ROOT
        )
        if done.returncode and not refused:
            raise StoryError(f"that failed:\n{done.stderr}")
        return self._refusal(done, refused) if refused else dict(json.loads(done.stdout))

    def _refusal(self, done: subprocess.CompletedProcess[str], code: str) -> Answer:
        error = (
            json.loads(done.stderr.strip().rpartition("\n")[2])["error"] if done.returncode else {}
        )
        if error.get("code") != code:
            raise StoryError(f"this had to be refused as {code}, but: {error or 'it was done'}")
        note(f"refused, as it must be: {error['message']}")
        return dict(error)


def show(prompt: str, words: Iterable[str]) -> None:
    """Print a command as one would type it from the project's folder."""
    print(f"   {prompt} {shlex.join(words)}".replace(f"{ROOT}/", ""), flush=True)


def note(line: str) -> None:
    print(f"   -> {line}", flush=True)


def made_anew(story: Story, *more: str) -> None:
    """Empty the story's folder, but only if an earlier run of this very story made it."""
    folder, mark = story.folder, story.mark
    if folder.is_symlink() or (folder.exists() and not mark.is_file()):
        raise StoryError(
            f"{folder} is not from this {story.name}: move it away; nothing was touched"
        )
    if folder.exists():
        shutil.rmtree(folder)
    for name in (".", "people", "sessions", *more):
        (folder / name).mkdir(mode=0o700)
    mark.write_text(f"`make {story.name}` may delete this folder.\n")


def credentials(story: Story, *people: str) -> None:
    """Let everybody make a key under a passphrase of their own."""
    for person in people:
        story.passphrases[person] = secrets.token_urlsafe(12)
        out = str(story.folder / "people" / f"{person}.key")
        story.keyvault("credential", "create", "--out", out, signers=(person,))


def found(story: Story, *more: str) -> None:
    """Hold the genesis ceremony: the officers sign who they are and which rules hold.

    A name may be followed by more of what --officer takes, such as an organisation.
    """
    words = ["init", "--folder", str(story.folder / "service"), "--site", f"keyvault.{story.name}"]
    words += ["--port", str(story.port), "--yes", *more]
    for person, name in story.officers.items():
        key = story.folder / "people" / f"{person}.key"
        screened = f"reviewed={time.strftime('%Y-%m-%d')},reference=HR-{person}"
        words += ["--officer", f"id={person},name={name},{screened},credential={key}"]
    story.summary.update(story.keyvault(*words, signers=tuple(story.officers)))
    note(f"genesis {story.summary['genesis']}")


def serve(story: Story) -> None:
    """Start the service and wait until it says that it is ready."""
    words = ["serve", "--config", story.summary["config"]]
    show("admin$ keyvault", words)
    with (story.folder / "service.log").open("a") as log:
        story.service = subprocess.Popen(
            [sys.executable, "-m", "cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
        )
    line = story.service.stdout.readline() if story.service.stdout else ""
    if not line.startswith("ready"):
        raise StoryError(f"it did not start; its last words are in {story.folder / 'service.log'}")
    note(line.strip())


def log_in(story: Story, person: str) -> None:
    made = story.summary
    words = ["--credential", str(story.folder / "people" / f"{person}.key")]
    words += ["--server", made["server"], "--ca", made["ca"], "--genesis", made["genesis"]]
    story.keyvault("login", "--person", person, *words, person=person, signers=(person,))


def carry_out(story: Story, asked: Answer) -> str:
    """Let bob and carol approve what alice asked for, and carry it out."""
    for person in ("bob", "carol"):
        words = ("approvals", "approve", str(asked["id"]), "--yes")
        story.keyvault(*words, person=person, signers=(person,))
    story.keyvault("approvals", "execute", str(asked["id"]), "--yes", person="alice")
    return str(asked["id"])


def join(story: Story, person: str, name: str, role: str = "auditor") -> str:
    """Register somebody by approval, and log them in; return the request."""
    public = str(story.folder / "people" / f"{person}.pub.pem")
    words = ("--name", name, "--role", role, "--public-key", public, "--site", "Leeds")
    place = ("--organisation", "Audit Partners", "--reviewed", time.strftime("%Y-%m-%d"))
    asked = story.keyvault(
        *("people", "register", person, *words, *place, "--reference", f"HR-{person}"),
        person="alice",
    )
    request = carry_out(story, asked)
    log_in(story, person)
    if role != "auditor":  # who has no duty
        acknowledge(story, person)
    return request


def acknowledge(story: Story, person: str) -> None:
    """Let a person read the duty of those who keep keys, and give their word on it."""
    text = story.folder / "keeping-keys.txt"
    text.write_text(DUTY)
    words = ("duties", "acknowledge", "keeping-keys", "--file", str(text), "--yes")
    story.keyvault(*words, person=person, signers=(person,))


def openssl(words: list[str], *, fails: bool = False) -> None:
    show("admin$", words)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if bool(done.returncode) is not fails:
        raise StoryError(f"openssl ended with {done.returncode}: {done.stdout}{done.stderr}")
    if done.stdout.strip():
        note(f"openssl says: {done.stdout.strip()}")


def export(story: Story, person: str, name: str = "evidence.zip") -> Path:
    """Let the auditor fetch the evidence, and put the verifier beside it."""
    out, verifier = story.folder / name, story.folder / "verify.py"
    story.keyvault("audit", "export", "--out", str(out), person=person)
    verifier.write_bytes(built.verifier())
    return out


def verify(story: Story, bundle: Path, *more: str, holds: bool) -> str:
    """Run the stand-alone verifier as an auditor would, and show what it says."""
    words = ["verify.py", bundle.name, "--genesis-sha256", story.summary["genesis"], *more]
    show(f"dora:{story.name}$ python3", words)
    # -I and an empty environment: not even our own modules are within its reach.
    line, environment = [sys.executable, "-I", *words], {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        line, capture_output=True, text=True, check=False, cwd=story.folder, env=environment
    )
    print(*(f"      {text}" for text in done.stdout.splitlines()), sep="\n", flush=True)
    if done.returncode != (0 if holds else 1):
        raise StoryError(f"the verifier ended with {done.returncode}: {done.stderr}")
    return done.stdout


def stop(story: Story) -> None:
    """End every process of the service."""
    if story.service is None:
        return
    story.service.terminate()
    try:
        story.service.wait(READY_SECONDS)
    except subprocess.TimeoutExpired:
        story.service.kill()
        story.service.wait()
    story.service = None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def play(story: Story, steps: Iterable[Callable[[], object]], *failures: type[Exception]) -> int:
    """Take one step after the other; 0 only if each ends as it must. The service ends with it."""
    signal.signal(signal.SIGTERM, _ended)
    signal.signal(signal.SIGINT, _ended)
    try:
        for step in steps:
            step()
    except (StoryError, OSError, ValueError, *failures) as error:
        print(f"\n{story.name}: step {story.step} failed: {error}", file=sys.stderr)
        return 1
    finally:
        stop(story)
    return 0


def _ended(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  (a handler's)
    raise StoryError("interrupted")
