"""What an assessor would say of a service: signature, counters, approvals, order, root."""

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from keyvault.evidence.verifier.catalogue import Catalogue
from keyvault.store import Database
from tests.evidence.built import PROGRAM
from tests.stack import Stack

EXPORT_LIMIT = 120.0  # seconds


def exported(stack: Stack) -> Path:
    """Export the whole log as an auditor, into the stack's folder."""
    auditor = stack.register(f"auditor-{uuid4().hex[:8]}", "auditor").client()
    bundle = stack.folder / "evidence.zip"
    answer = auditor.post("/v1/audit/exports", json={}, timeout=EXPORT_LIMIT)
    assert answer.is_success, answer.text
    bundle.write_bytes(answer.content)
    return bundle


def assert_evidence_holds(stack: Stack) -> None:
    """Export the whole log as an auditor and let the stand-alone program check it."""
    line = [sys.executable, "-I", "-S", PROGRAM, exported(stack)]
    genesis = ["--genesis-sha256", stack.settings.genesis]
    done = subprocess.run([*line, *genesis], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "do not fit the list of events" not in done.stdout, done.stdout


def assert_listed(stack: Stack) -> None:
    """Hold every event of a service against the closed list of what events say."""
    looked = Catalogue()
    with closing(Database(stack.settings.database)) as database, database.reading() as work:
        for event in work.audit.events(0, work.audit.head().size):
            payload = json.loads(event.payload) if event.payload else None
            looked.look(event.index, event.header["ty"], payload)
    assert looked.count == 0, looked.sentence()


def assert_verifies(stack: Stack, key: str, signed: Iterable[tuple[bytes, str]]) -> None:
    """Check (digest, r and s in base64), as the API answered, against the key it publishes."""
    path = f"/v1/keys/{key}/public-key?format=pem"
    public = serialization.load_pem_public_key(stack.person("alice").client().get(path).content)
    for digest, signature in signed:
        raw = b64decode(signature)
        r, s = (int.from_bytes(part) for part in (raw[:32], raw[32:]))
        algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
        public.verify(utils.encode_dss_signature(r, s), digest, algorithm)
