"""Asks a PKCS#11 module something in a process of its own, for it may hang or crash.

Besides, a library that is loaded does not see what another process made. PINs go by pipe.
"""

import json
import os
import subprocess
import sys
from typing import Any

from hsm import errors
from hsm.errors import DeviceTimeoutError, DeviceUnavailableError

CHILD_SECONDS = 60.0


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """One question, one answer. Raises the `HsmError` that the module led to."""
    try:
        done = _run(json.dumps(request).encode())
    except subprocess.TimeoutExpired:
        raise DeviceTimeoutError(
            f"the module did not answer within {CHILD_SECONDS} s",
            next_step="See whether the HSM can be reached.",
        ) from None
    if done.returncode:
        raise DeviceUnavailableError(
            f"the module ended its process with {done.returncode}",
            cause=str(done.returncode),
            next_step="See whether this library fits this machine.",
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise errors.restored(answer)
    return answer


def _run(question: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "hsm.pkcs11.child"],
        input=question,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        timeout=CHILD_SECONDS,
        check=False,
    )
