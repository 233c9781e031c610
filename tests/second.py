"""A second api process over the same database, as another host of the service would run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.stack import ROOT, Stack, free_port

PATIENCE = 60.0  # seconds


@contextmanager
def second_api(stack: Stack, more: str = "") -> Iterator[str]:
    """Start it, with `more` settings, and give its URL; it ends with the block."""
    port = free_port()
    config = stack.config.with_name("second.toml")
    text = stack.config.read_text()
    text = text.replace(f"port = {stack.settings.api.port}", f"port = {port}")
    config.write_text(f"{text}\n{more}")
    command = [sys.executable, "-m", "api.server", "--settings", str(config)]
    path = stack.folder / "second.log"
    with path.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
    until = time.monotonic() + PATIENCE
    try:
        while '"listening"' not in path.read_text():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the second api did not start:\n{path.read_text()}")
            time.sleep(0.02)
        yield f"https://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == os.EX_OK
