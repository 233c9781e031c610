"""How long a large batch of certification requests takes, and what memory its processes need.

    make bench-csr                     # 50,000 keys, one request each
    make bench-csr ARGS="--keys 2000"

Keys are made on the token and their orders written where the gate keeps what it redeemed, without
approvals: ordering is not what is measured. From there on everything is the command as people use
it, against the whole service: batch, lint, submit, response, accept. Every key has a request of
its own. The authority is the tests' own.
Each line of output is one step: seconds, items a second, peak memory in MiB of the command and of
the service's processes since they started. At the end openssl reads a sample of the requests.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from hsm.device import Device
from hsm.registry import open_device
from hsm.types import Algorithm, KeySpec, KeyUsage, MadeKey, VerifyPolicy
from keyvault.bootstrap import build
from keyvault.domain import pem
from keyvault.domain.approvals import Request
from keyvault.domain.audit import AuditEvent, EventType, Outcome
from keyvault.domain.keys import Key, KeyClass, KeyState, Residence, service_key_id
from keyvault.domain.scopes import Scope
from keyvault.gate.register import Register
from keyvault.operations.vault import Vault
from tests.authority import Authority
from tests.stack import PASSPHRASE, ROOT, SCOPE, Stack

CHUNK = 500
SAMPLE = 500
TERMS = ("EC-P256", "sign", "bulk")
Document = dict[str, Any]


def main() -> None:
    """Run all steps and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m bench.certificates")
    parser.add_argument("--keys", type=int, default=50_000)
    parser.add_argument("--database", default="sqlite:///keyvault.db")
    options = parser.parse_args()
    with Stack.make(options.database) as stack:
        stack.start()
        started = time.monotonic()
        _make(stack, options.keys)
        _tell("keys", options.keys, time.monotonic() - started, stack, 0)
        Run(stack, options.keys).all()


def _parts(count: int) -> Iterator[int]:
    for at in range(0, count, CHUNK):
        yield min(CHUNK, count - at)


def _make(stack: Stack, count: int) -> None:
    """Put keys in place: wrapped blobs in the database, orders in the gate's folder."""
    keys = stack.settings.keys
    os.environ.update(keys.environment)
    assert stack.settings.credentials is not None
    pin = (stack.settings.credentials / keys.pin).read_bytes().strip()
    pattern = stack.order(key_class=TERMS[2])["document"]
    vault, device = build(stack.settings), open_device(keys.uri, pin, cache_size=16)
    register = Register(stack.settings.state / "gate.db")
    with vault.database.reading() as work:
        classified = vault.authority(work).key_class(TERMS[2])
    try:
        for part in _parts(count):
            _register(vault, [_made(register, device, (pattern, classified)) for _ in range(part)])
    finally:
        device.close()
        register.close()
        vault.close()


def _made(register: Register, device: Device, terms: tuple[Document, KeyClass]) -> MadeKey:
    pattern, key_class = terms
    key_id, nonce = uuid4(), os.urandom(16).hex()
    order = Request.read({**pattern, "id": str(key_id), "nonce": nonce})
    register.redeem(order, key_class, datetime.now(UTC))
    spec = KeySpec(key_id.bytes, "bench", Algorithm(TERMS[0]), KeyUsage(TERMS[1]))
    return device.generate_wrapped(spec, service_key_id("kek"), service_key_id("mac"))


def _register(vault: Vault, made: list[MadeKey]) -> None:
    now, scope = datetime.now(UTC), Scope(**SCOPE)
    with vault.database.work() as work:
        for each in made:
            work.keys.add(_key(each, scope, now), each.wrapped)
        said = dict.fromkeys(("version", "program_sha256", "migration"), "bench")
        about = {"stream": "bench", "actor": "service:bench", "scope": scope}
        about["payload"] = {**said, "unsealed": 0, "unwitnessed": 0}
        event = AuditEvent(EventType.AUDIT_HEARTBEAT, Outcome.OK, uuid4(), **about)
        work.commit(event)


def _key(made: MadeKey, scope: Scope, now: datetime) -> Key:
    return Key(
        id=UUID(bytes=made.spec.key_id),
        scope=scope,
        label="a key of the bench",
        algorithm=Algorithm(TERMS[0]),
        usage=KeyUsage(TERMS[1]),
        key_class=TERMS[2],
        residence=Residence.WRAPPED,
        verify=VerifyPolicy.SAMPLED,
        extractable=False,
        state=KeyState.PRE_ACTIVE,
        version=1,
        created_at=now,
        protect_until=now + timedelta(days=365),
        process_until=now + timedelta(days=730),
        public_key=made.public_key,
    )


class Run:
    """The steps of a batch, each by the command itself."""

    def __init__(self, stack: Stack, count: int) -> None:
        self._stack = stack
        self._count = count
        self._session = stack.folder / "session"
        self._batch = ""
        self._archive = stack.folder / "batch.zip"
        self._answers = stack.folder / "answers.zip"

    def all(self) -> None:
        self._log_in()
        made = self._step("batch", "--scope", "/".join(SCOPE.values()), "--out", self._archive)
        assert made["requests"] == self._count, made
        self._batch = made["batch"]
        print(json.dumps({"archive_mib": round(self._archive.stat().st_size / 2**20, 1)}))
        self._check()
        self._step("lint", self._archive, session=False)
        self._step("submit", "--batch", self._batch, "--reference", "BENCH")
        self._issue()
        told = self._step("response", self._answers)
        assert told["results"] == {"issued": self._count}, told["results"]
        self._step("accept", "--batch", self._batch, "--reason", "bench", "--yes")

    def _log_in(self) -> None:
        line = ["login", "--server", self._stack.url, "--ca", self._stack.ca, "--person", "bob"]
        line += ["--credential", self._stack.folder / "bob.key", "--passphrase-fd", "0"]
        line += ["--genesis", self._stack.settings.genesis, "--session", self._session]
        subprocess.run(
            _command(*line), input=PASSPHRASE + b"\n", cwd=ROOT, check=True, capture_output=True
        )

    def _step(self, verb: str, *words: object, session: bool = True) -> Document:
        more = ("--session", self._session) if session else ()
        out = self._stack.folder / f"{verb}.json"
        started = time.monotonic()
        with out.open("wb") as file:
            line = _command("certificates", verb, *words, *more, "--json")
            process = subprocess.Popen(line, cwd=ROOT, stdout=file)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, verb
        _tell(verb, self._count, time.monotonic() - started, self._stack, used.ru_maxrss)
        answer: Document = json.loads(out.read_text())
        return answer

    def _check(self) -> None:
        """A sample, read by openssl; every name and every request is there once."""
        with zipfile.ZipFile(self._archive) as archive:
            names = archive.namelist()
            assert len(set(names)) == self._count
            sample = random.sample(names, min(SAMPLE, len(names)))
            for name in sample:
                line = ["openssl", "req", "-verify", "-noout"]
                request = archive.read(name)
                done = subprocess.run(line, input=request, capture_output=True, check=True)
                assert b"verify OK" in done.stderr
            digests = {sha256(archive.read(name)).digest() for name in names}
        assert len(digests) == self._count
        print(json.dumps({"openssl_req_verify": len(sample), "refused": 0}), flush=True)

    def _issue(self) -> None:
        root, issuing = Authority.pair()
        for kind, one in (("root", root), ("issuing", issuing)):
            file = self._stack.folder / f"{kind}.der"
            file.write_bytes(one.certificate())
            line = ("watch", file, "--kind", kind, "--yes", "--session", self._session)
            subprocess.run(
                _command("certificates", *line), cwd=ROOT, check=True, capture_output=True
            )
        with (
            zipfile.ZipFile(self._archive) as asked,
            zipfile.ZipFile(self._answers, "w", zipfile.ZIP_DEFLATED) as answered,
        ):
            for name in asked.namelist():
                request = pem.der_of(asked.read(name), pem.REQUEST)
                answered.writestr(name.replace(".csr", ".cer"), issuing.issue(request))


def _command(*words: object) -> list[str]:
    return [sys.executable, "-m", "cli", *map(str, words)]


def _tell(step: str, count: int, seconds: float, stack: Stack, peak: int) -> None:
    line = {
        "step": step,
        "items": count,
        "seconds": round(seconds, 1),
        "per_second": round(count / seconds),
        "command_peak_mib": round(peak / 1024, 1),
        **{f"{name}_peak_mib": _peak(stack.pid(name)) for name in ("api", "gate", "recorder")},
    }
    print(json.dumps(line), flush=True)


def _peak(pid: int) -> float:
    """Peak resident memory of a process and its children, in MiB."""
    sizes = [_peak_of(pid)]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return round(sum(sizes) + sum(_peak(int(child)) for child in children), 1)


def _peak_of(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
