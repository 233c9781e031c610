"""Where a PKCS#11 module is; and asked something in a process of its own, for it may hang or crash.

Besides, a library that is loaded does not see what another process made. PINs go by pipe.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hsm import errors
from hsm.errors import (
    DeviceTimeoutError,
    DeviceUnavailableError,
    TokenNotFoundError,
    UriError,
)
from hsm.uri import Pkcs11Uri

# Where distributions put PKCS#11 modules, for URIs that name a module instead of its path.
DIRECTORIES = ("/usr/lib/softhsm", "/usr/lib/pkcs11", "/usr/local/lib", "/usr/local/lib/softhsm")
MULTIARCH = (
    "/usr/lib/*-linux-gnu/pkcs11",
    "/usr/lib/*-linux-gnu",
    "/usr/lib64",
    "/usr/lib64/pkcs11",
)
CHILD_SECONDS = 60.0


def module_of(uri: Pkcs11Uri) -> str:
    """The library file. `module-name` is looked up as RFC 7512 says: without lib and suffix."""
    if uri.module_path:
        return uri.module_path
    name = uri.module_name
    if not name or "/" in name:
        raise UriError(
            "the PKCS#11 URI names no module",
            next_step="Add ?module-path= with the path of the vendor's library.",
        )
    root = Path("/")
    folders = [folder for p in (*DIRECTORIES, *MULTIARCH) for folder in sorted(root.glob(p[1:]))]
    files = [folder / f for folder in folders for f in (f"{name}.so", f"lib{name}.so")]
    found = next((str(file) for file in files if file.is_file()), "")
    if not found:
        raise TokenNotFoundError(
            f"no PKCS#11 library named {name} is installed",
            next_step="Install it, or give module-path in the URI.",
        )
    return found


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
