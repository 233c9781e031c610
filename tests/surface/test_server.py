"""The API as a process: it starts and stops cleanly, shares its port, and outlives its HSM."""

import os
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import ROOT, Stack, free_port, ok

BODY = {"digest": b64encode(bytes(32)).decode()}
PATIENCE = 30.0  # seconds


@pytest.fixture(scope="module")
def stack(postgresql) -> Iterator[Stack]:
    """A service of its own, to be mistreated; on PostgreSQL, since the other is on SQLite."""
    with Stack.make(postgresql.create("empty")) as stack:
        stack.start()
        yield stack


@pytest.fixture(scope="module")
def key(stack):
    return stack.active_key()


@pytest.fixture(scope="module")
def dcc(stack):
    return stack.system("dcc-1", "key:sign")


@pytest.fixture
def signs(dcc, key):
    """Sign once, and return the answer."""
    return lambda: dcc.client().post(f"/v1/keys/{key}/signatures", json=BODY)


def eventually(answer, wanted: int):
    until = time.monotonic() + PATIENCE
    while (last := answer()).status_code != wanted and time.monotonic() < until:
        time.sleep(0.05)
    assert last.status_code == wanted, last.text
    return last


def test_while_the_gate_is_down_callers_are_told_when_to_come_back(stack, signs):
    ok(signs())
    stack.stop("gate")
    refused = signs()
    assert (refused.status_code, refused.json()["code"]) == (503, "hsm-unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    ready = stack.person("alice").client().get("/v1/health/ready")
    assert ready.status_code == 503
    [hsm] = [check for check in ready.json()["checks"] if check["name"] == "hsm"]
    assert not hsm["ok"]
    assert hsm["reason"]
    told = stack.client().get("/v1/health/ready").json()
    assert [check["reason"] for check in told["checks"]] == [""] * len(told["checks"])
    stack.start("gate")
    eventually(signs, 201)


def test_while_the_recorder_is_down_nothing_is_signed(stack, signs):
    ok(signs())
    stack.kill("recorder")
    refused = signs()
    assert (refused.status_code, refused.json()["code"]) == (503, "log-unavailable")
    stack.start("recorder")
    eventually(signs, 201)


def test_told_to_stop_it_finishes_what_is_under_way(stack, dcc, key):
    answers = []
    batch = {"digests": [BODY["digest"]] * 1_000}

    def sign_many() -> None:
        path = f"/v1/keys/{key}/signatures"
        answers.append(stack.client(dcc.certificate, dcc.key).post(path, json=batch))

    thread = threading.Thread(target=sign_many)
    thread.start()
    time.sleep(0.1)
    assert stack.stop("api") == os.EX_OK
    thread.join()
    assert len(ok(answers[0])["signatures"]) == 1_000
    stack.start("api")


def test_it_stops_although_clients_stay_connected(stack, signs):
    ok(signs())
    started = time.monotonic()
    assert stack.stop("api") == os.EX_OK
    assert time.monotonic() - started < 5
    stack.start("api")


def run(config, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "api.server", "--settings", str(config), *options]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_settings_it_says_so(tmp_path):
    ended = run(tmp_path / "none.toml")
    assert ended.returncode == os.EX_CONFIG
    assert ended.stderr.startswith("api: cannot read ")


def test_a_port_that_is_taken_is_said_in_a_line(stack):
    ended = run(stack.config)
    assert ended.returncode == os.EX_UNAVAILABLE
    assert ended.stderr.strip().splitlines()[-1] == "api: cannot listen: Address already in use"


def started(config: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "api.server", "--settings", str(config)]
    with log.open("wb") as stream:
        return subprocess.Popen(command, cwd=ROOT, stderr=stream)


def test_two_processes_share_one_port(stack, dcc, key, tmp_path):
    port = free_port()
    config = stack.config.with_name("two.toml")
    text = stack.config.read_text().replace(f"port = {stack.settings.api.port}", f"port = {port}")
    config.write_text(text.replace("[api]\n", "[api]\nworkers = 2\n"))
    logs = [tmp_path / "one.log", tmp_path / "other.log"]
    workers = [started(config, log) for log in logs]
    until = time.monotonic() + PATIENCE
    try:
        while not all('"listening"' in log.read_text() for log in logs):
            assert time.monotonic() < until, [log.read_text() for log in logs]
            time.sleep(0.05)
        while not all('"/v1/whoami"' in log.read_text() for log in logs):
            assert time.monotonic() < until, "one of the two never got a connection"
            client = stack.client(dcc.certificate, dcc.key)
            ok(client.get(f"https://127.0.0.1:{port}/v1/whoami"))
            ok(client.post(f"https://127.0.0.1:{port}/v1/keys/{key}/signatures", json=BODY))
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        assert [worker.wait(20) for worker in workers] == [os.EX_OK, os.EX_OK]
