"""A card with Yubico's commands that we issued, in the hands of Yubico's own library."""

import json
import subprocess
import sys
from pathlib import Path

from tests.stack import ROOT


def test_yubikit_finds_cards_that_we_issued_in_order_in_clear_and_in_a_secure_channel(tmp_path):
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("yubikeys.py"), tmp_path],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / '.judges'}"},
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert all(told.values()), told
    assert "secured: what it put" in told
