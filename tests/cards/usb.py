"""USB tokens for tests: SoftHSM, asked in this process or in one of its own for each question.

stick = Stick.make(tmp_path, monkeypatch)
reader = UsbReader(SOFTHSM, stick.ask)        # 20 times as fast as a process for each question
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hsm import errors
from hsm.errors import CardRemovedError
from hsm.pkcs11.child import answered
from hsm.pkcs11.library import Library
from hsm.usb import Ask, Call
from tests import devices


@dataclass
class Stick:
    """Blank tokens in a SoftHSM of this test's own, beside one that is somebody else's."""

    log: list[Call] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path, monkeypatch: pytest.MonkeyPatch) -> "Stick":
        service = devices.softhsm(folder, "somebody else's")
        monkeypatch.setenv("SOFTHSM2_CONF", service.environment["SOFTHSM2_CONF"])
        return cls()

    def ask(self, request: Call) -> Call:
        """What `hsm.modules.ask` does, without a process: as it, through JSON and a fresh load."""
        self.log.append(request)
        try:
            answer = json.loads(json.dumps(answered(json.loads(json.dumps(request)))))
        finally:
            Library.leave_all()
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
