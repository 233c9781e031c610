"""Two makes of witness as processes: ours, and one that others wrote."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from cli.errors import exit_status
from cli.main import assembled
from keyvault.domain.errors import VaultError
from keyvault.witness.key import WitnessKey
from keyvault.witness.server import WitnessServer
from keyvault.witness.service import Witness
from keyvault.witness.state import State

ROOT = Path(__file__).parents[2]
JUDGES = ROOT / ".judges"
PATIENCE = 20  # seconds
COMMAND = [sys.executable, "-m", "cli"]


def command(*words):
    """Call `keyvault witness` in this process: exit status, stdout, stderr."""
    out, err, status = StringIO(), StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            assembled("witness")(["witness", *words], standalone_mode=False)
        except VaultError as error:
            status = exit_status(error)
            err.write(f"{error}; {error.next_step}")
    return status, out.getvalue(), err.getvalue()


class Place:
    """A witness that runs in a folder, and can be stopped and started."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.url = self.vkey = ""
        self.process = None

    @property
    def address(self):
        """A free port, and after a restart the same."""
        return f"127.0.0.1:{urlsplit(self.url).port or 0}"

    def post(self, request, path="/add-checkpoint"):
        """Answer (status, content type, body) to bytes or to an `AddCheckpoint`."""
        body = request if isinstance(request, bytes) else request.to_bytes()
        return self.ask("POST", path, body)

    def ask(self, method, path, body=None, headers=None):
        parts = urlsplit(self.url)
        line = HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
        try:
            line.request(method, path, body, headers or {})
            answer = line.getresponse()
            return answer.status, answer.getheader("Content-Type", ""), answer.read()
        finally:
            line.close()

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.communicate(timeout=PATIENCE)
            self.process = None

    def restart(self):
        self.stop()
        self.start()

    @contextmanager
    def running(self):
        self.start()
        try:
            yield self
        finally:
            self.stop()


class Ours(Place):
    def make(self, *logs):
        options = [word for log in logs for word in ("--log", log.ed25519.vkey)]
        self.vkey = self.run("init", self.name, "--plain", *options).strip()
        return self

    def run(self, verb, *words):
        status, said, complaint = command(verb, *words, "--folder", str(self.folder))
        assert status == 0, complaint
        return said

    def start(self):
        line = [*COMMAND, "witness", "serve", "--listen", self.address]
        self.process = subprocess.Popen(
            [*line, "--folder", str(self.folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        ready = self.process.stdout.readline()
        assert ready.startswith("ready http"), ready
        self.url = ready.split()[1]

    def evidence(self):
        return [path.read_bytes() for path in (self.folder / "refused").iterdir()]


class Inside(Place):
    """Ours again, in this process: for tests of those who ask it."""

    def make(self, *logs):
        self.folder.mkdir(exist_ok=True)
        self.key = WitnessKey.create(self.folder / "key", self.name, None)
        self.vkey = self.key.verifier.vkey
        state = State.create(self.folder, self.key.verifier)
        for log in logs:
            state.trust(log.ed25519)
        return self

    def start(self):
        address = ("127.0.0.1", urlsplit(self.url).port or 0)
        self.process = WitnessServer(address, Witness(State(self.folder), self.key))
        self.url = f"http://127.0.0.1:{self.process.server_address[1]}"
        poll = {"poll_interval": 0.01}
        self.thread = Thread(target=self.process.serve_forever, kwargs=poll)
        self.thread.start()

    def stop(self):
        if self.process is not None:
            self.process.shutdown()
            self.process.server_close()
            self.thread.join()
            self.process = None


class Foreign(Place):
    """aics-witness, with nothing of ours on its path."""

    def make(self, *logs):
        assert JUDGES.is_dir(), "run tools/install test: it brings the programs that judge ours"
        self.vkey = self.run("init", "--name", self.name).strip()
        for log in logs:
            self.run("add-log", "--origin", log.origin, "--vkey", log.ed25519.vkey)
        return self

    def words(self, verb):
        return [sys.executable, "-m", "aics_witness", verb, "-c", str(self.folder / "w.json")]

    @property
    def environment(self):
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(JUDGES)}

    def run(self, verb, *words):
        done = subprocess.run(
            [*self.words(verb), *words],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            cwd=self.folder,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self):
        self.process = subprocess.Popen(
            [*self.words("serve"), "--listen", self.address],
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.folder,
        )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = re.search(r"listening on (http://\S+)", self.process.stderr.readline())
            if found:
                self.url = found[1].rstrip("/")
                return
        raise AssertionError("the foreign witness did not start")

    def evidence(self):
        return json.loads(self.run("evidence"))
