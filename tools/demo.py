#!/usr/bin/env python3
"""The main job from order to evidence, with real parts, told in plain words: `make demo`.

Everything lies under ./demo, or the folder that is given, and is made afresh. People use the
`keyvault` command as they would at a terminal, but that their passphrases come through a pipe;
the DCC system calls the REST API over mutual TLS; OpenSSL checks the signature, and a
stand-alone program the evidence.
"""

import hashlib
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import zipfile
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cli.remote.uses import der_of  # noqa: E402  (the path comes first)
from hsm.types import Algorithm  # noqa: E402  (the path comes first)

FOLDER = Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT / "demo"
MARK = FOLDER / ".made-by-make-demo"
SCOPE = "acme-energy/IMPORT-SUPPLIER/00-07-81-00-00-00-00-01"
OFFICERS = {"alice": "Alice Ash", "bob": "Bob Birch", "carol": "Carol Cole"}
AUDITOR = ("dora", "Dora Day")
SYSTEM = "dcc-adapter"
PAYLOAD = b"GBCS command 1 for meter 00-DB-12-34-56-78-9A-BC: read the active import register\n"
READY_SECONDS = 90.0
Answer = dict[str, Any]


class DemoError(Exception):
    """A step did not end as it must."""


@dataclass
class Demo:
    """What has been made so far, and the service while it runs."""

    port: int
    started: float = field(default_factory=time.monotonic)
    step: int = 0
    passphrases: dict[str, str] = field(default_factory=dict)
    service: subprocess.Popen[str] | None = None
    summary: Answer = field(default_factory=dict)

    def tell(self, title: str, *lines: str) -> None:
        """Begin a step, in words for somebody who has never seen this before."""
        self.step += 1
        print(f"\n{self.step}. {title}  [{time.monotonic() - self.started:.0f} s]", flush=True)
        for line in lines:
            print(f"   {line}", flush=True)

    def keyvault(
        self, *words: str, person: str = "", signers: tuple[str, ...] = (), refused: str = ""
    ) -> Answer:
        """Run the command as a person. `refused` is the error code that has to come."""
        line = [sys.executable, "-m", "cli", *words]
        line += ["--session", str(FOLDER / "sessions" / person)] if person else []
        line += ["--passphrase-fd", "0"] if signers else []
        show(f"{person or 'admin'}$ keyvault", words)
        typed = "".join(f"{self.passphrases[name]}\n" for name in signers)
        done = subprocess.run(
            [*line, "--json"], input=typed, capture_output=True, text=True, check=False, cwd=ROOT
        )
        if done.returncode and not refused:
            raise DemoError(f"that failed:\n{done.stderr}")
        return self._refusal(done, refused) if refused else dict(json.loads(done.stdout))

    def _refusal(self, done: subprocess.CompletedProcess[str], code: str) -> Answer:
        error = (
            json.loads(done.stderr.strip().rpartition("\n")[2])["error"] if done.returncode else {}
        )
        if error.get("code") != code:
            raise DemoError(f"this had to be refused as {code}, but: {error or 'it was done'}")
        note(f"refused, as it must be: {error['message']}")
        return dict(error)


def show(prompt: str, words: tuple[str, ...] | list[str]) -> None:
    """Print a command as one would type it from the project's folder."""
    print(f"   {prompt} {shlex.join(words)}".replace(f"{ROOT}/", ""), flush=True)


def note(line: str) -> None:
    print(f"   -> {line}", flush=True)


def made_anew() -> None:
    """Empty ./demo, but only if an earlier run of this very demo made it."""
    if FOLDER.is_symlink() or (FOLDER.exists() and not MARK.is_file()):
        raise DemoError(f"{FOLDER} is not from this demo: move it away; nothing was touched")
    if FOLDER.exists():
        shutil.rmtree(FOLDER)
    for name in (".", "people", "sessions", "system"):
        (FOLDER / name).mkdir(mode=0o700)
    MARK.write_text("`make demo` may delete this folder.\n")


def credentials(demo: Demo) -> None:
    demo.tell(
        "Three officers and an auditor make their own signing keys",
        "Each key is encrypted under a passphrase that only its owner knows.",
    )
    for person in (*OFFICERS, AUDITOR[0]):
        demo.passphrases[person] = secrets.token_urlsafe(12)
        out = str(FOLDER / "people" / f"{person}.key")
        demo.keyvault("credential", "create", "--out", out, signers=(person,))


def genesis(demo: Demo) -> None:
    demo.tell(
        "The genesis ceremony",
        "Two throw-away SoftHSM tokens are made, the service's own keys inside them, and all",
        "three officers read and sign who they are and which rules hold. Nobody can add power",
        "later but by these rules: two others have to sign whatever one asks for.",
    )
    words = ["init", "--folder", str(FOLDER / "service"), "--site", "keyvault.demo"]
    words += ["--port", str(demo.port), "--yes"]
    for person, name in OFFICERS.items():
        key = FOLDER / "people" / f"{person}.key"
        screened = f"reviewed={time.strftime('%Y-%m-%d')},reference=HR-{person}"
        words += ["--officer", f"id={person},name={name},{screened},credential={key}"]
    demo.summary.update(demo.keyvault(*words, signers=tuple(OFFICERS)))
    note(f"genesis {demo.summary['genesis']}")


def serve(demo: Demo) -> None:
    demo.tell(
        "The service starts: two gates, recorder, sealer and API, each a process of its own",
        "Only the gates load the HSM's library and know its PIN.",
    )
    words = ["serve", "--config", demo.summary["config"]]
    show("admin$ keyvault", words)
    with (FOLDER / "service.log").open("w") as log:
        demo.service = subprocess.Popen(
            [sys.executable, "-m", "cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
        )
    line = demo.service.stdout.readline() if demo.service.stdout else ""
    if not line.startswith("ready"):
        raise DemoError(f"it did not start; its last words are in {FOLDER / 'service.log'}")
    note(line.strip())


def login(demo: Demo) -> None:
    demo.tell(
        "The officers log in",
        "Each key signs for a short-lived one: no password travels, no token can be stolen.",
    )
    for person in OFFICERS:
        log_in(demo, person)


def log_in(demo: Demo, person: str) -> None:
    made = demo.summary
    words = ["--credential", str(FOLDER / "people" / f"{person}.key")]
    words += ["--server", made["server"], "--ca", made["ca"], "--genesis", made["genesis"]]
    demo.keyvault("login", "--person", person, *words, person=person, signers=(person,))


def join(demo: Demo) -> None:
    person, name = AUDITOR
    demo.tell(
        "Dora joins as auditor, by approval",
        "Who audits holds no other role: grants that must not meet in one person are refused.",
    )
    public = str(FOLDER / "people" / f"{person}.pub.pem")
    words = ("--name", name, "--role", "auditor", "--public-key", public, "--site", "Leeds")
    place = ("--organisation", "Audit Partners", "--reviewed", time.strftime("%Y-%m-%d"))
    asked = demo.keyvault(
        *("people", "register", person, *words, *place, "--reference", "HR-dora"), person="alice"
    )
    demo.summary["joiner"] = carry_out(demo, asked)
    log_in(demo, person)


def order(demo: Demo) -> None:
    demo.tell(
        "Alice orders a P-256 signing key",
        f"It is for party, user role and user id {SCOPE}.",
    )
    terms = ("--algorithm", "EC-P256", "--usage", "sign", "--class", "critical")
    label = ("--label", "critical commands to meters")
    asked = demo.keyvault("keys", "order", "--scope", SCOPE, *label, *terms, person="alice")
    demo.summary.update(key=asked["id"], scope=SCOPE, order=asked["id"])
    note(f"request {asked['id']}, check words {asked['check_words']}")


def one_is_not_enough(demo: Demo) -> None:
    request = demo.summary["order"]
    demo.tell("One approval is not enough, and the requester's own does not count")
    words = ("approvals", "approve", request, "--yes")
    demo.keyvault(*words, person="alice", signers=("alice",), refused="approval-invalid")
    demo.keyvault(*words, person="bob", signers=("bob",))
    note("bob has signed: one of two")
    demo.keyvault("approvals", "execute", request, "--yes", person="alice", refused="quorum")


def generate(demo: Demo) -> None:
    request = demo.summary["order"]
    demo.tell(
        "Carol approves too, and the key is made inside the HSM",
        "The gate checks the two signatures itself before it touches the HSM.",
    )
    demo.keyvault("approvals", "approve", request, "--yes", person="carol", signers=("carol",))
    demo.keyvault("approvals", "execute", request, "--yes", person="alice")
    demo.summary["public_key"] = str(FOLDER / "public-key.pem")
    words = ("keys", "public-key", request, "--out", demo.summary["public_key"])
    demo.keyvault(*words, person="alice")


def carry_out(demo: Demo, asked: Answer) -> str:
    """Let bob and carol approve what alice asked for, and carry it out."""
    for person in ("bob", "carol"):
        words = ("approvals", "approve", str(asked["id"]), "--yes")
        demo.keyvault(*words, person=person, signers=(person,))
    demo.keyvault("approvals", "execute", str(asked["id"]), "--yes", person="alice")
    return str(asked["id"])


def activate(demo: Demo) -> None:
    demo.tell("The key is activated", "A new key signs nothing before two people say so.")
    words = ("keys", "activate", demo.summary["key"], "--reason", "accepted for use")
    demo.summary["activation"] = carry_out(demo, demo.keyvault(*words, person="alice"))


def enrol(demo: Demo) -> None:
    certificate, key = FOLDER / "system" / "client.pem", FOLDER / "system" / "client.key"
    demo.tell(
        "A DCC system makes a key and a certificate, and is enrolled by approval",
        "This very certificate may sign with this very key, and nothing else.",
    )
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "30"]
    openssl([*words, "-subj", f"/CN={SYSTEM}", "-addext", "extendedKeyUsage=clientAuth"])
    rights = ("--action", "key:sign", "--action", "key:read", "--key", demo.summary["key"])
    names = ("--name", "DCC adapter", "--scope", SCOPE, "--certificate", str(certificate))
    asked = demo.keyvault("systems", "enrol", SYSTEM, *names, *rights, person="alice")
    demo.summary.update(enrolment=carry_out(demo, asked), system=SYSTEM)
    demo.summary.update(client_certificate=str(certificate), client_key=str(key))


def openssl(words: list[str], *, fails: bool = False) -> None:
    show("admin$", words)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if bool(done.returncode) is not fails:
        raise DemoError(f"openssl ended with {done.returncode}: {done.stdout}{done.stderr}")
    if done.stdout.strip():
        note(f"openssl says: {done.stdout.strip()}")


def call(demo: Demo) -> httpx.Response:
    """Ask for a signature as the DCC system does: mutual TLS and one POST."""
    context = ssl.create_default_context(cafile=demo.summary["ca"])
    context.load_cert_chain(demo.summary["client_certificate"], demo.summary["client_key"])
    digest = b64encode(hashlib.sha256(PAYLOAD).digest()).decode()
    path = f"{demo.summary['server']}/v1/keys/{demo.summary['key']}/signatures"
    print(f"   {SYSTEM}> POST {path}\n      {json.dumps({'digest': digest})}", flush=True)
    with httpx.Client(verify=context, trust_env=False, timeout=30) as client:
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return client.post(path, json={"digest": digest}, headers=headers)


def sign(demo: Demo) -> None:
    demo.tell(
        "The system signs a payload through the API",
        "The answer leaves only after its event is in the log; r and s are then written as DER.",
    )
    answer = call(demo)
    if answer.status_code != httpx.codes.CREATED:
        raise DemoError(f"the API answered {answer.status_code}: {answer.text}")
    body = answer.json()
    raw = b64decode(body["signatures"][0])
    payload, signature = FOLDER / "payload.bin", FOLDER / "signature.der"
    payload.write_bytes(PAYLOAD)
    signature.write_bytes(der_of(raw, Algorithm.EC_P256))
    demo.summary.update(payload=str(payload), signature=str(signature), event=body["event"])
    note(f"signed; event {body['event']['index']} of the log says so")
    check = ["openssl", "dgst", "-sha256", "-verify", demo.summary["public_key"]]
    openssl([*check, "-signature", str(signature), str(payload)])


def suspend(demo: Demo) -> None:
    demo.tell(
        "Something looks wrong: Bob suspends the key",
        "Stopping a key is fast and takes one person; letting it go on takes two others.",
    )
    words = ("keys", "suspend", demo.summary["key"], "--reason", "unusual traffic")
    demo.keyvault(*words, person="bob")
    answer = call(demo)
    body = answer.json()
    if answer.status_code != httpx.codes.CONFLICT or body.get("code") != "key-state":
        raise DemoError(f"a suspended key answered {answer.status_code}: {answer.text}")
    note(f"refused, as it must be: {answer.status_code} {body['code']}: {body['detail']}")


def export(demo: Demo) -> None:
    demo.tell(
        "Dora, the auditor, exports the evidence and checks it",
        "The verifier is one file that needs Python and OpenSSL, and nothing of ours.",
    )
    out, verifier = FOLDER / "evidence.zip", FOLDER / "verify.py"
    demo.keyvault("audit", "export", "--out", str(out), person="dora")
    shutil.copyfile(ROOT / "keyvault" / "evidence" / "verify.py", verifier)
    demo.summary.update(evidence=str(out), verifier=str(verifier))
    verify(demo, out, holds=True)


def verify(demo: Demo, bundle: Path, *, holds: bool) -> None:
    """Run the stand-alone verifier as an auditor would, and show what it says."""
    words = ["verify.py", bundle.name, "--genesis-sha256", demo.summary["genesis"]]
    show("dora:demo$ python3", words)
    # -I and an empty environment: not even our own modules are within its reach.
    line, environment = [sys.executable, "-I", *words], {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        line, capture_output=True, text=True, check=False, cwd=FOLDER, env=environment
    )
    print(*(f"      {text}" for text in done.stdout.splitlines()), sep="\n", flush=True)
    if done.returncode != (0 if holds else 1):
        raise DemoError(f"the verifier ended with {done.returncode}: {done.stderr}")


def tamper(demo: Demo) -> None:
    demo.tell(
        "Somebody changes one byte of the evidence",
        "In a copy, the event of the suspension gets another name: first just so, and then with",
        "the ZIP's own checksum put right, as somebody would who knows the format.",
    )
    honest, forged = Path(demo.summary["evidence"]), FOLDER / "evidence-forged.zip"
    with zipfile.ZipFile(honest) as archive:
        files = {info: archive.read(info) for info in archive.infolist()}
    events = next(data for info, data in files.items() if info.filename == "events.ndjson")
    changed = events.replace(b"KEY.SUSPENDED", b"KEY.RUSPENDED", 1)
    forged.write_bytes(honest.read_bytes().replace(events, changed))
    verify(demo, forged, holds=False)
    with zipfile.ZipFile(forged, "w") as archive:
        for info, data in files.items():
            archive.writestr(info, changed if data is events else data)
    verify(demo, forged, holds=False)
    demo.summary["forged_evidence"] = str(forged)


def stop(demo: Demo) -> None:
    """End every process of the service."""
    if demo.service is None:
        return
    demo.service.terminate()
    try:
        demo.service.wait(READY_SECONDS)
    except subprocess.TimeoutExpired:
        demo.service.kill()
        demo.service.wait()
    demo.service = None


def finish(demo: Demo) -> None:
    demo.tell("The service stops")
    stop(demo)
    demo.summary["seconds"] = round(time.monotonic() - demo.started, 1)
    (FOLDER / "summary.json").write_text(json.dumps(demo.summary, indent=2) + "\n")
    note(f"done in {demo.summary['seconds']} s; what was made: demo/summary.json")


STEPS = (
    *(credentials, genesis, serve, login, order, one_is_not_enough, generate, activate),
    *(enrol, sign, suspend, join, export, tamper, finish),
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def ended(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  (a handler's)
    raise DemoError("interrupted")


def main() -> int:
    """Exit with 0 only if every step ended as it must."""
    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGINT, ended)
    demo = Demo(free_port())
    try:
        made_anew()
        for step in STEPS:
            step(demo)
    except (DemoError, OSError, ValueError, httpx.HTTPError) as error:
        print(f"\ndemo: step {demo.step} failed: {error}", file=sys.stderr)
        return 1
    finally:
        stop(demo)
    return 0


if __name__ == "__main__":
    sys.exit(main())
