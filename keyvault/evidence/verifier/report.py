"""Findings, and the signatures that are checked together at the end."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keyvault.evidence.verifier.words import (
    ED25519,
    MALFORMED,
    P256,
    CannotCheck,
    Wrong,
    need,
)

VERDICTS = (
    "the evidence holds",
    "THE EVIDENCE IS WRONG",
    "the evidence could not be checked",
    "the evidence holds, and does not prove what was asked",
)
TOGETHER = 2048  # signatures: more are checked before the end, to spare memory


class Report:
    """What was found, and the signatures that are checked together at the end."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.problems: list[dict[str, Any]] = []
        self.jobs: dict[tuple[bytes, bytes, bytes], tuple[str, str, int | None]] = {}
        self.file, self.exit = "", 0
        self.standing: list[dict[str, Any]] = []
        self.index: int | None = None
        self.signatures = 0
        self.bundle = ""  # its SHA-256
        self.queries: dict[str, str] = {}
        self.who_had: tuple[str, str] | None = None  # a token and a time that the reader asks for
        self.traces: list[Any] = []  # of sessions with tokens, that the reader has beside it
        self.stamp_roots = b""  # of time stamping authorities, as the reader knows them

    def at(self, file: str, index: int | None = None) -> None:
        self.file, self.index = file, index

    def say(self, mark: str, sentence: str) -> None:
        """Add a line. What comes from the bundle must not write lines of its own."""
        plain = sentence.encode("ascii", "backslashreplace").decode()
        self.lines.append((mark, "".join(c if c.isprintable() else "?" for c in plain)))

    def wrong(self, what: str) -> None:
        number = "" if self.index is None else f" [{self.index}]"
        self.problems.append({"what": what, "file": self.file, "index": self.index})
        self.say("WRONG", f"{self.file}{number}: {what}".removeprefix(": "))
        self.exit = 1

    @contextmanager
    def step(self, claim: str, file: str) -> Iterator[None]:
        """Make one part of the check. What is wrong in it does not stop the next part."""
        self.at(file)
        before = len(self.problems)
        try:
            yield
            if claim and len(self.problems) == before:
                self.say("ok", claim)
        except Wrong as error:
            self.wrong(str(error))
        except (*MALFORMED, RecursionError) as error:
            self.wrong(f"cannot be read ({type(error).__name__}: {str(error)[:120]})")

    def signed(self, what: str, key: bytes, signature: bytes, message: bytes) -> None:
        """Put a check aside. `key` is a SubjectPublicKeyInfo; `what` is said if it fails."""
        p256 = key.startswith(P256) and len(key) == len(P256) + 65
        edwards = key.startswith(ED25519) and len(key) == len(ED25519) + 32
        need(p256 or edwards, "a key is neither P-256 nor Ed25519")
        self.jobs.setdefault((key, signature, message), (what, self.file, self.index))
        if len(self.jobs) >= TOGETHER:
            place = (self.file, self.index)
            self.check_signatures()
            self.at(*place)

    def check_signatures(self) -> None:
        if not re.match(rb"OpenSSL ([3-9]|[1-9][0-9])\.", openssl("version").stdout):
            raise CannotCheck("OpenSSL 3 or later is needed: `openssl version` names another")
        self.signatures += len(self.jobs)
        jobs, about = list(self.jobs), self.jobs
        self.jobs = {}
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
            stems = [Path(folder) / str(number) for number in range(len(jobs) + 1)]
            good = list(pool.map(verifies, stems, jobs))
            key, signature, message = jobs[0]
            if verifies(stems[-1], (key, signature, message + b"x")):
                raise CannotCheck("this openssl accepts a signature over something else")
        for job in [job for number, job in enumerate(jobs) if not good[number]]:
            what, file, index = about[job]
            self.at(file, index)
            self.wrong(what)

    def output(self, as_json: bool) -> str:
        verdict = VERDICTS[self.exit]
        lines = [*self.lines, ("VERDICT", verdict)]
        if not as_json:
            return "".join(f"{mark:8} {sentence}\n" for mark, sentence in lines)
        body = {"exit": self.exit, "verdict": verdict, "problems": self.problems}
        found = {"transcript": lines, "standing": self.standing, "queries": self.queries}
        return json.dumps({**body, **found}, indent=1) + "\n"


def openssl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["openssl", *arguments]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False)  # noqa: S603 - our words, our files
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCheck(f"the openssl command does not run: {error}") from error


def verifies(stem: Path, job: tuple[bytes, bytes, bytes]) -> bool:
    key, signature, message = job
    pem, sig, msg = (f"{stem}.{suffix}" for suffix in ("pem", "sig", "msg"))
    armour = base64.encodebytes(key).decode()
    Path(pem).write_text(f"-----BEGIN PUBLIC KEY-----\n{armour}-----END PUBLIC KEY-----\n")
    Path(sig).write_bytes(signature)
    Path(msg).write_bytes(message)
    if key.startswith(P256):
        return not openssl("dgst", "-sha256", "-verify", pem, "-signature", sig, msg).returncode
    edwards = ("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", pem, "-sigfile", sig)
    return not openssl(*edwards, "-in", msg).returncode
