"""What the story of tokens shares: its bench, its desk, and the programs that judge a card."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cli.desk.relaying import inserted
from hsm.pcsc.reader import wait_for_card
from tests.carding import STATIONS, Carding, Desk
from tests.cards.bench import NAMES, Bench
from tests.cards.simulator.card import Card
from tests.cards.simulator.models import MODELS
from tests.stack import Document, Stack, ok

STARTED = time.monotonic()


class Demo:
    """What the steps share."""

    def __init__(self, stack: Stack, carding: Carding, bench: Bench, folder: Path) -> None:
        self.stack = stack
        self.carding = carding
        self.bench = bench
        self.folder = folder
        self.step = 0
        self.keys: dict[str, str] = {}  # of the authorities
        self.desk = Desk(carding.issuer.client())

    def tell(self, title: str, *lines: str) -> None:
        self.step += 1
        print(f"\n{self.step}. {title}  [{time.monotonic() - STARTED:.0f} s]", flush=True)
        for line in lines:
            print(f"   {line}", flush=True)

    def run(self, *command: str) -> str:
        """Run somebody else's program; it has to succeed."""
        environment = os.environ | {"HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder)}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, timeout=60, check=False
        )
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        if done.returncode:
            raise SystemExit(f"this had to work: {' '.join(command)}\n{said}")
        return said

    def insert(self, card: Any, slot: int = 0) -> Any:
        virtual = self.bench.insert(card, slot)
        if not wait_for_card(NAMES[slot], seconds=15):
            raise SystemExit("the reader saw no card")
        return virtual

    def pull(self, virtual: Any, slot: int = 0) -> None:
        virtual.remove()
        self.bench.until_removed(slot)

    def make(self, job: Document, slot: int = 0) -> Document:
        path = f"/v1/issuing/jobs/{job['id']}"
        return inserted(self.desk, path, STATIONS[slot], NAMES[slot], lambda _: None)


def note(line: str) -> None:
    print(f"   -> {line}", flush=True)


def blank(serial: str) -> Card:
    card = MODELS["yubico"].make()
    card.application.serial = int(serial)
    return card


def must(true: bool, what: str) -> None:
    if not true:
        raise SystemExit(f"this had to be so: {what}")
    note(what)


def authorities(demo: Demo) -> None:
    client = demo.stack.client()
    for each in ok(demo.carding.issuer.client().get("/v1/ca"))["items"]:
        der = client.get(f"/v1/ca/{each['key']}/certificate").content
        found = x509.load_der_x509_certificate(der)
        name = "root" if found.issuer == found.subject else "issuing"
        (demo.folder / f"{name}.pem").write_bytes(found.public_bytes(Encoding.PEM))
        demo.keys[name] = each["key"]


def chain(demo: Demo, *, good: bool = True) -> str:
    der = demo.stack.client().get(f"/v1/ca/{demo.keys['issuing']}/crl").content
    pem = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
    (demo.folder / "crl.pem").write_bytes(pem)
    words = ("openssl", "verify", "-crl_check", "-CAfile", "root.pem", "-untrusted", "issuing.pem")
    line = (*words, "-CRLfile", "crl.pem", "card.pem")
    if good:
        return demo.run(*line)
    done = subprocess.run(line, cwd=demo.folder, capture_output=True, check=False)
    must(b"revoked" in done.stderr + done.stdout, "openssl verify: certificate revoked")
    return ""


def status(demo: Demo) -> str:
    about = ("-issuer", "issuing.pem", "-cert", "card.pem")
    demo.run("openssl", "ocsp", "-no_nonce", *about, "-reqout", "ask.der")
    headers = {"content-type": "application/ocsp-request"}
    body = (demo.folder / "ask.der").read_bytes()
    answer = demo.stack.client().post("/v1/ca/ocsp", content=body, headers=headers)
    (demo.folder / "answer.der").write_bytes(answer.content)
    trust = ("-CAfile", "root.pem", "-verify_other", "issuing.pem", "-partial_chain")
    return demo.run("openssl", "ocsp", "-no_nonce", *about, "-respin", "answer.der", *trust)
