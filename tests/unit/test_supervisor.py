"""The supervisor over small processes of its own: order, back-off, hopeless ends, a clean stop."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from keyvault.supervisor import HOPELESS

PREAMBLE = """
import sys
from pathlib import Path
from dataclasses import replace
from keyvault.supervisor import Service, Supervisor
folder = Path(sys.argv[1])
def say(words): print(words, file=sys.stderr, flush=True)
def service(name, body, ready=lambda: True):
    code = f"import os, sys, time\\nopen({str(folder / name)!r}, 'a').write('x')\\n{body}"
    return Service(name, ("-c", code), ready)
FOR_EVER = "time.sleep(600)"
"""


def supervised(folder, body):
    """Run a supervisor whose services `body` names, in a process of its own."""
    script = PREAMBLE + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def starts(folder, name):
    path = folder / name
    return path.stat().st_size if path.exists() else 0


def until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def ended(process, how=signal.SIGTERM):
    process.send_signal(how)
    return process.communicate(timeout=30)


def test_services_start_one_after_another_and_then_it_is_ready(tmp_path):
    process = supervised(
        tmp_path,
        """
        def first_ready():
            started = (folder / "first").exists()
            assert not (folder / "second").exists()
            return started
        parts = [service("first", FOR_EVER, first_ready), service("second", FOR_EVER)]
        Supervisor(parts, say).run(lambda: print("ready", flush=True))
        """,
    )
    assert process.stdout.readline() == "ready\n"
    until(lambda: starts(tmp_path, "second") == 1)
    out, err = ended(process)
    assert (process.returncode, out, err) == (0, "", "")


def test_who_needs_nobody_before_it_starts_beside_them(tmp_path):
    process = supervised(
        tmp_path,
        """
        first = service("first", FOR_EVER, lambda: (folder / "second").exists())
        parts = [first, replace(service("second", FOR_EVER), beside=True)]
        Supervisor(parts, say).run(lambda: print("ready", flush=True))
        """,
    )
    assert process.stdout.readline() == "ready\n"
    out, err = ended(process)
    assert (process.returncode, out, err) == (0, "", "")
    assert (starts(tmp_path, "first"), starts(tmp_path, "second")) == (1, 1)


def test_what_dies_is_started_again_ever_more_slowly(tmp_path):
    process = supervised(
        tmp_path,
        """
        parts = [service("mortal", "time.sleep(0.1); sys.exit(1)"), service("other", FOR_EVER)]
        Supervisor(parts, say).run(lambda: print("ready", flush=True))
        """,
    )
    process.stdout.readline()
    time.sleep(3)
    _, err = ended(process)
    # 0.2, 0.4, 0.8 and 1.6 seconds of pause, and the time that each start takes.
    assert 3 <= starts(tmp_path, "mortal") <= 5
    assert starts(tmp_path, "other") == 1
    assert "mortal ended with status 1" in err
    assert "starting mortal again" in err


@pytest.mark.parametrize("status", sorted(HOPELESS))
def test_what_would_end_the_same_way_again_is_left_alone(tmp_path, status):
    process = supervised(
        tmp_path,
        f"""
        parts = [service("locked", "time.sleep(0.3); sys.exit({status})")]
        Supervisor(parts, say).run(lambda: print("ready", flush=True))
        """,
    )
    process.stdout.readline()
    time.sleep(1)
    _, err = ended(process)
    assert starts(tmp_path, "locked") == 1
    assert f"locked ended with status {status} and is not started again" in err
    assert process.returncode == 0


def test_a_service_that_does_not_start_stops_those_before_it(tmp_path):
    process = supervised(
        tmp_path,
        """
        pid = folder / "pid"
        first = service("first", f"open({str(pid)!r}, 'w').write(str(os.getpid())); {FOR_EVER}",
                        lambda: pid.exists() and pid.read_text())
        parts = [first, service("second", "sys.exit(3)", lambda: False)]
        Supervisor(parts, say).run(lambda: print("ready", flush=True))
        """,
    )
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == ""
    assert "NotReadyError: second did not start: it ended with status 3" in err
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_nothing_is_left_running(tmp_path, how):
    process = supervised(
        tmp_path,
        """
        pid = folder / "pid"
        body = f"open({str(pid)!r}, 'w').write(str(os.getpid())); {FOR_EVER}"
        part = service("part", body, lambda: pid.exists() and pid.read_text())
        Supervisor([part], say).run(lambda: print("ready", flush=True))
        """,
    )
    process.stdout.readline()
    pid = int((tmp_path / "pid").read_text())
    ended(process, how)
    until(lambda: not _runs(pid))


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
