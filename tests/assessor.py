"""What an assessor would say of a service: signature, counters, approvals, order, root."""

import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterable
from uuid import uuid4

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from tests.evidence.built import PROGRAM
from tests.stack import Stack

EXPORT_LIMIT = 120.0  # seconds


def assert_evidence_holds(stack: Stack) -> None:
    """Export the whole log as an auditor and let the stand-alone program check it."""
    auditor = stack.register(f"auditor-{uuid4().hex[:8]}", "auditor").client()
    bundle = stack.folder / "evidence.zip"
    exported = auditor.post("/v1/audit/exports", json={}, timeout=EXPORT_LIMIT)
    assert exported.is_success, exported.text
    bundle.write_bytes(exported.content)
    line = [sys.executable, "-I", "-S", PROGRAM, bundle]
    genesis = ["--genesis-sha256", stack.settings.genesis]
    done = subprocess.run([*line, *genesis], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def assert_verifies(stack: Stack, key: str, signed: Iterable[tuple[bytes, str]]) -> None:
    """Check (digest, r and s in base64), as the API answered, against the key it publishes."""
    path = f"/v1/keys/{key}/public-key?format=pem"
    public = serialization.load_pem_public_key(stack.person("alice").client().get(path).content)
    for digest, signature in signed:
        raw = b64decode(signature)
        r, s = (int.from_bytes(part) for part in (raw[:32], raw[32:]))
        algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
        public.verify(utils.encode_dss_signature(r, s), digest, algorithm)
