"""`make demo`, from order to evidence: what it leaves behind is what it promises."""

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from tests.surface.desk import ROOT

DEMO = ROOT / "tools" / "demo.py"


@pytest.fixture(scope="module")
def shown():
    """The demo's folder, short enough for sockets, and what it told."""
    folder = Path(tempfile.mkdtemp(prefix="kv-"))
    told = subprocess.run(
        [sys.executable, DEMO, folder / "demo"], capture_output=True, text=True, check=False
    )
    yield folder / "demo", told
    shutil.rmtree(folder)


def test_every_step_ends_as_it_must(shown):
    folder, told = shown
    assert told.returncode == 0, told.stdout + told.stderr
    assert "15. The service stops" in told.stdout
    assert told.stdout.count("refused, as it must be") == 3
    assert told.stdout.count("the evidence holds") == 1
    assert told.stdout.count("THE EVIDENCE IS WRONG") == 2
    assert str(folder) not in subprocess.check_output(["ps", "-eo", "args"], text=True)


def test_openssl_accepts_the_signature_and_no_other_payload(shown):
    folder, _ = shown
    check = ["openssl", "dgst", "-sha256", "-verify", folder / "public-key.pem"]
    check += ["-signature", folder / "signature.der"]
    assert subprocess.check_output([*check, folder / "payload.bin"]) == b"Verified OK\n"
    other = folder / "other.bin"
    other.write_bytes((folder / "payload.bin").read_bytes() + b"!")
    assert subprocess.run([*check, other], capture_output=True, check=False).returncode == 1


def test_the_summary_names_what_there_is(shown):
    folder, _ = shown
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("payload", "signature", "public_key", "evidence"):
        assert Path(summary[name]).parent == folder
        assert Path(summary[name]).is_file()
    line = [sys.executable, "-I", folder / "verify.py", "--json"]
    line += [summary["evidence"], "--genesis-sha256", summary["genesis"]]
    assert subprocess.run(line, capture_output=True, check=False).returncode == 0
    with zipfile.ZipFile(summary["evidence"]) as archive:
        events = archive.read("events.ndjson")
    assert summary["key"].encode() in events
    assert summary["seconds"] < 300


def test_a_folder_of_somebody_else_is_not_touched(tmp_path):
    (tmp_path / "letter").write_text("dear reader")
    done = subprocess.run([sys.executable, DEMO, tmp_path], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"nothing was touched" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]
