"""USB tokens for tests: SoftHSM, in one process beside the test, loaded anew for each question.

with Stick.make(folder) as stick:
    reader = UsbReader(SOFTHSM, stick.ask)    # 20 times as fast as a process for each question
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from hsm import errors
from hsm.errors import CardRemovedError
from hsm.pkcs11.child import answered
from hsm.pkcs11.library import Library
from hsm.usb import Ask, Call
from tests import devices

ROOT = Path(__file__).parents[2]


class Stick:
    """Blank tokens in a SoftHSM of its own, beside one that is somebody else's.

    `settings` is SoftHSM's file, which is read anew for each question.
    """

    def __init__(self, settings: Path, beside: "subprocess.Popen[str]") -> None:
        self.settings = settings
        self._beside: Any = beside
        self.log: list[Call] = []

    @classmethod
    @contextmanager
    def make(cls, folder: Path) -> Iterator["Stick"]:
        """Other processes of this test have the same SoftHSM meanwhile."""
        environment = devices.softhsm(folder, "somebody else's").environment
        settings, pipe = Path(environment["SOFTHSM2_CONF"]), subprocess.PIPE
        words = [sys.executable, "-m", __name__]
        with (
            mock.patch.dict(os.environ, environment),
            subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as beside,
        ):
            yield cls(settings, beside)
            beside.communicate(timeout=60)

    def ask(self, request: Call) -> Call:
        """What `hsm.modules.ask` does."""
        self.log.append(request)
        self._beside.stdin.write(json.dumps(request) + "\n")
        self._beside.stdin.flush()
        answer = json.loads(self._beside.stdout.readline())
        if "error" in answer:
            raise errors.restored(answer)
        return dict(answer)


def pulled_at(ask: Ask, at: int, *, executed: bool) -> Ask:
    """Pull the token at the n-th question, before or after it was carried out; then never again."""
    count = 0

    def asked(request: Call) -> Call:
        nonlocal count
        count += 1
        if count != at:
            return ask(request)
        if executed:
            ask(request)
        raise CardRemovedError("pulled")

    return asked


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answered(json.loads(line))) + "\n")
        sys.stdout.flush()
        Library.leave_all()
