"""`make authority-drill`: who owns api and database gains nothing, and the auditor sees it."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.surface.desk import ROOT

DRILL = ROOT / "tools" / "drill.py"
pytestmark = pytest.mark.soak  # a service of its own and fifty attacks: a minute and more


@pytest.fixture(scope="module")
def drilled():
    """The folder of a drill, short enough for sockets, and what it told. Cards are left to
    their own tests, which it would only run once more."""
    folder = Path(tempfile.mkdtemp(prefix="kv-"))
    told = subprocess.run(
        [sys.executable, DRILL, folder / "d", "--no-cards"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    yield folder / "d", told
    shutil.rmtree(folder)


def report(folder):
    return json.loads((folder / "report.json").read_text())


def test_every_attempt_came_to_nothing_and_was_told_of(drilled):
    folder, told = drilled
    assert told.returncode == 0, told.stdout + told.stderr
    found = report(folder)
    assert found["held"]
    assert all(row["held"] for row in found["attempts"])
    for row in found["attempts"]:
        assert row["index"] is not None or row["event"].startswith(("none: ", "the event itself"))
    tried = {row["threat"] for row in found["attempts"]}
    assert tried == {f"T{number}" for number in range(1, 13)} - {"T11"}  # of cards alone
    assert str(folder) not in subprocess.check_output(["ps", "-eo", "args"], text=True)


def test_the_evidence_of_the_run_holds_and_has_the_events_that_the_report_names(drilled):
    folder, _ = drilled
    found = report(folder)
    line = [sys.executable, "-I", folder / "verify.py", found["evidence"]]
    line += ["--genesis-sha256", found["genesis"]]
    assert subprocess.run(line, capture_output=True, check=False).returncode == 0
    # What came last was told after that evidence was exported.
    named = re.findall(r"(GATE\.REFUSED|AUTHORITY\.REJECTED|CONN\.REFUSED)", str(found["attempts"]))
    assert set(named) == {"GATE.REFUSED", "AUTHORITY.REJECTED", "CONN.REFUSED"}


def test_the_page_has_a_row_for_each_attempt(drilled):
    folder, _ = drilled
    rows = [line for line in (folder / "report.md").read_text().splitlines() if "| held |" in line]
    assert len(rows) == len(report(folder)["attempts"])
    assert all(line.count(" | ") == 4 for line in rows)


def test_a_folder_of_somebody_else_is_not_touched(tmp_path):
    (tmp_path / "letter").write_text("dear reader")
    done = subprocess.run([sys.executable, DRILL, tmp_path], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"nothing was touched" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]
